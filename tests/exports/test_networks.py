"""Our own networks have the layers, sizes and parameter counts of the papers they follow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from exports.catalog import find  # noqa: E402
from exports.networks.dcgan import Discriminator, Generator  # noqa: E402
from exports.networks.lenet5 import lenet5  # noqa: E402
from exports.networks.pyramid import LateralPyramid  # noqa: E402
from exports.networks.resnet_small import resnet_small  # noqa: E402
from exports.networks.se import SqueezeExcitation  # noqa: E402
from exports.networks.smooth_gan import SmoothDiscriminator, SmoothGenerator  # noqa: E402
from exports.networks.transformer_net import TransformerNet  # noqa: E402

pytestmark = pytest.mark.torch


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_lenet5_has_the_layers_of_figure_2() -> None:
    # LeCun et al. 1998, section II-B: C1 156, C5 48,120, F6 10,164 trainable parameters; maps of 28, 14, 10, 5, 1
    network = lenet5()
    sizes = {}
    x = torch.zeros(1, 1, 32, 32)
    for name, layer in network.named_children():
        x = layer(x)
        sizes[name] = tuple(x.shape[1:])

    assert [parameters(network.get_submodule(n)) for n in ("c1", "c5", "f6")] == [156, 48_120, 10_164]
    assert [sizes[n] for n in ("c1", "s2", "c3", "s4", "c5", "f6", "output")] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,)
    ]  # fmt: skip
    assert parameters(network) == 61_706


def test_lenet5_can_connect_c3_as_table_i_does() -> None:
    # Section II-B: "Layer C3 has 1,516 trainable parameters"
    c3 = lenet5(sparse=True).get_submodule("c3")
    unconnected = c3.connected.expand_as(c3.weight) == 0

    assert int((~unconnected).sum()) + c3.bias.numel() == 1516
    c3(torch.rand(2, 6, 14, 14)).sum().backward()
    assert torch.count_nonzero(c3.weight.grad[unconnected]) == 0
    assert torch.count_nonzero(c3.weight[unconnected]) == 0


def test_squeeze_and_excitation_scales_whole_channels_by_zero_to_one() -> None:
    x = torch.rand(2, 32, 5, 7) + 0.5

    ratio = SqueezeExcitation(32)(x) / x

    assert ratio.amin() > 0
    assert ratio.amax() < 1
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    # Hu et al. 2018, equation 5: 2 C² / r weights, here with biases
    assert parameters(SqueezeExcitation(32, 16)) == 2 * 32 * 32 // 16 + 2 + 32


def test_a_small_resnet_has_the_size_of_table_6_and_takes_the_se_block() -> None:
    # He et al. 2016, table 6: ResNet-20 has 0.27 M parameters
    plain, excited = resnet_small(n=3), resnet_small(n=3, se=True)

    assert round(parameters(plain) / 1e6, 2) == 0.27
    blocks = sum(isinstance(m, SqueezeExcitation) for m in excited.modules())
    assert blocks == 9
    assert excited.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_dcgan_makes_and_judges_64_pixel_pictures_with_labels_if_wanted() -> None:
    generator, discriminator = Generator(classes=10).eval(), Discriminator(classes=10).eval()
    labels = torch.tensor([3, 7])

    pictures = generator(torch.randn(2, 100), labels)

    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.abs().max() <= 1
    assert discriminator(pictures, labels).shape == (2, 1)
    with pytest.raises(ValueError, match="needs labels, 0 to 9"):
        generator(torch.randn(2, 100))


def test_the_smooth_gan_makes_pictures_of_a_class_and_judges_each_by_itself() -> None:
    torch.manual_seed(0)
    generator, discriminator = SmoothGenerator(8, 16, 3, 2), SmoothDiscriminator(4, 3, 2)
    noise = torch.randn(1, 8).repeat(2, 1)

    pictures = generator(noise, torch.tensor([0, 1]))

    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.abs().max() <= 1
    assert not torch.equal(pictures[0], pictures[1])
    together = discriminator(pictures, torch.tensor([0, 1]))
    torch.testing.assert_close(discriminator(pictures[1:], torch.tensor([1])), together[1:])
    assert not torch.allclose(discriminator(pictures[1:], torch.tensor([0])), together[1:])


def test_the_generator_is_laid_out_like_the_usual_64_pixel_dcgan() -> None:
    # shapes of the state dict of a 64×64 DCGAN with nz 100 and ngf 64, as saved by the PyTorch tutorial's network
    kernels = [tuple(p.shape) for p in Generator().parameters() if p.ndim == 4]

    assert kernels == [(100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 100), (16, 16)])
def test_the_transformer_net_keeps_the_size_of_a_picture(height: int, width: int) -> None:
    network = TransformerNet(channels=8).eval()

    assert network(torch.rand(1, 3, height, width) * 255).shape == (1, 3, height, width)


def test_the_transformer_net_has_about_the_parameters_of_the_paper() -> None:
    # Johnson et al. 2016, supplementary table 1, counted by hand: kernels of 9·9·3·32, 3·3·32·64, 3·3·64·128,
    # ten of 3·3·128·128, 3·3·128·64, 3·3·64·32 and 9·9·32·3
    kernels = sum(p.numel() for p in TransformerNet().parameters() if p.ndim == 4)

    assert kernels == 2 * 9 * 9 * 3 * 32 + 2 * 9 * 32 * 64 + 2 * 9 * 64 * 128 + 10 * 9 * 128 * 128


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (64, 128, 256, 512)),
        ("googlenet", (192, 480, 832, 1024)),
        ("efficientnet-lite0", (24, 40, 112, 320)),
    ],
)
def test_a_pyramid_gives_named_maps_at_strides_4_to_32(name: str, channels: tuple[int, ...]) -> None:
    entry = find(f"{name}-pyramid")

    maps = entry.network().eval()(torch.rand(2, 3, 128, 96))

    assert tuple(maps) == entry.facts().outputs == ("c2", "c3", "c4", "c5")
    assert [tuple(m.shape) for m in maps.values()] == [
        (2, c, 128 // stride, 96 // stride) for c, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_a_lateral_pyramid_has_one_width_at_every_level() -> None:
    body = find("resnet18-pyramid").network().eval()

    maps = LateralPyramid(body, (64, 128, 256, 512), width=32)(torch.rand(1, 3, 64, 64))

    assert {k: tuple(m.shape[1:]) for k, m in maps.items()} == {
        "p2": (32, 16, 16), "p3": (32, 8, 8), "p4": (32, 4, 4), "p5": (32, 2, 2)
    }  # fmt: skip


def test_an_embedding_is_what_the_whole_network_feeds_its_last_layer() -> None:
    from exports.build import build

    whole = build(find("resnet18"), "random").network
    embedding = find("resnet18-embedding")
    backbone = embedding.network().eval()
    assert embedding.adapt
    backbone.load_state_dict(embedding.adapt(whole.state_dict()))
    picture = torch.rand(1, 3, 64, 64)

    vector = backbone(picture)

    assert vector.shape == (1, 512)
    torch.testing.assert_close(whole.get_submodule("fc")(vector), whole(picture))
