"""A style network whose normalisation is measured on one picture and kept for another, against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from exports.errors import ExportError
from exports.networks.many_styles import ManyStyles
from exports.networks.transformer_net import TransformerNet
from exports.settable_norm import settable
from pipelines.normalisation import GIVEN, KEEP, MEASURE, OUTPUT, keeping, measuring
from pipelines.safety import check_model
from tests.pipelines.test_golden import STYLE


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("settable") / "style.onnx"
    onnx.save(settable(onnx.load(str(STYLE))), str(path))
    check_model(path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (1, 3, *size)).astype(np.float32)


def test_left_alone_it_paints_as_before(session: onnxruntime.InferenceSession) -> None:
    before = onnxruntime.InferenceSession(STYLE.read_bytes(), providers=["CPUExecutionProvider"])
    pixels = noise((40, 56), 0)

    image, nothing = session.run(["image", OUTPUT], {"images": pixels})

    np.testing.assert_array_equal(image, before.run(None, {"images": pixels})[0])
    assert nothing.size == 0
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert {value.name for value in session.get_overridable_initializers()} == {KEEP, MEASURE, GIVEN}


def test_a_pictures_own_normalisation_paints_that_picture(session: onnxruntime.InferenceSession) -> None:
    pixels = noise((40, 56), 1)
    measured, image = session.run([OUTPUT, "image"], {"images": pixels, **measuring()})

    again = session.run(["image"], {"images": pixels, **keeping(measured)})[0]

    np.testing.assert_allclose(again, image, atol=0.01)


def test_anothers_normalisation_paints_as_pytorch_does_with_its_statistics(
    session: onnxruntime.InferenceSession,
) -> None:
    here, other = noise((40, 56), 2), 0.5 * noise((64, 48), 3)
    network = network_of_the_file()
    with torch.no_grad():
        frozen = with_statistics_of(network, torch.from_numpy(other))
        expected = frozen(torch.from_numpy(here)).numpy()
    measured = session.run([OUTPUT], {"images": other, **measuring()})[0]

    image = session.run(["image"], {"images": here, **keeping(measured)})[0]

    np.testing.assert_allclose(image, expected, atol=0.05)


def test_a_model_is_changed_once_only() -> None:
    with pytest.raises(ExportError, match="already"):
        settable(settable(onnx.load(str(STYLE))))


def test_a_model_without_instance_normalisation_is_refused() -> None:
    lenet = onnx.load(str(Path(__file__).parents[2] / "pipelines" / "models" / "lenet5.onnx"))

    with pytest.raises(ExportError, match="InstanceNormalization"):
        settable(lenet)


def test_a_baked_style_paints_as_the_network_of_all_styles_does() -> None:
    torch.manual_seed(0)
    many = ManyStyles(("one", "two"), 4, 2).eval()
    with torch.no_grad():
        for parameter in many.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        pixels = torch.from_numpy(noise((32, 40), 4))
        for style in ("one", "two"):
            plain = TransformerNet(4, 2).eval()
            plain.load_state_dict(many.baked(style))

            torch.testing.assert_close(plain(pixels), many(pixels, style))
        assert not torch.allclose(many(pixels, "one"), many(pixels, "two"))


def test_styles_share_their_convolutions_and_have_norms_of_their_own() -> None:
    many = ManyStyles(("one", "two"), 4, 2)

    one, two = (dict(many.of[style].named_parameters()) for style in ("one", "two"))
    shared = {name for name in one if one[name] is two[name]}

    own = {name for name in one if name not in shared}
    assert {name for name in own if one[name].ndim == 4} == {"up.7.weight"}
    assert all(name.startswith("up.7") or one[name].ndim == 1 for name in own)
    assert len(shared) == 2 * (3 + 4 + 2)  # weight and bias of every convolution but the last


def network_of_the_file() -> TransformerNet:
    """The network that the golden style was exported from, with the weights of the file."""
    network = TransformerNet(2, 1).eval()
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(STYLE)).graph.initializer}
    state = network.state_dict()
    for name in state:
        found = values.get(f"network.{name}")
        if found is not None:
            state[name] = torch.from_numpy(found.copy())
    network.load_state_dict(state)
    return network


def with_statistics_of(network: TransformerNet, picture: torch.Tensor) -> nn.Module:
    """The network with the mean and variance of its maps on a picture in place of every instance normalisation."""
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.InstanceNorm2d)}

    def listen(name: str) -> object:
        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            found[name] = mean, variance

        return norms[name].register_forward_pre_hook(keep)

    hooks = [listen(name) for name in norms]
    network(picture)
    for hook in hooks:
        hook.remove()  # type: ignore[attr-defined]
    for name, norm in norms.items():
        fixed = nn.BatchNorm2d(norm.num_features).eval()
        fixed.running_mean, fixed.running_var = found[name]
        fixed.weight, fixed.bias = norm.weight, norm.bias
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, fixed)
    return network
