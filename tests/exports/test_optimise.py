"""A picture painted by optimisation: its losses, its loss network, what it does between two steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="the export extra is not installed")

import pipelines  # noqa: E402
from exports.optimise.losses import content_loss, gram, style_loss, styles_loss, total_variation  # noqa: E402
from exports.optimise.lossnet import LossNetwork  # noqa: E402
from pipelines.card import Card, InputSpec, Resize, Weights, with_card  # noqa: E402
from pipelines.catalog import SHIPPED  # noqa: E402
from pipelines.errors import ModelError, ParameterError  # noqa: E402
from pipelines.optimise import Attendant, Halted, Optimiser, Step  # noqa: E402
from pipelines.results import RenderedPicture, Result  # noqa: E402
from pipelines.types import Image  # noqa: E402

pytestmark = pytest.mark.torch

MODEL = SHIPPED / "squeezenet-pyramid.onnx"
Tensor = torch.Tensor


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def drawn(kind: str, size: tuple[int, int] = (80, 96)) -> Image:
    """A picture of stripes, of discs, or of a few forms; (H, W, 3)."""
    pixels = np.full((*size, 3), (240, 230, 200), np.uint8)
    for at in range(0, max(size), 12):
        if kind == "stripes":
            cv2.line(pixels, (at, 0), (at - 40, size[0]), (20, 40, 160), 4)
        elif kind == "discs":
            cv2.circle(pixels, (at, (at * 7) % size[0]), 6, (200, 40, 20), -1)
    if kind == "forms":
        cv2.rectangle(pixels, (20, 20), (60, 70), (40, 120, 60), -1)
        cv2.circle(pixels, (70, 25), 14, (180, 160, 30), -1)
    return pixels


def written(folder: Path, kind: str, size: tuple[int, int] = (80, 96)) -> str:
    path = folder / f"{kind}.png"
    cv2.imwrite(str(path), drawn(kind, size)[..., ::-1])
    return str(path)


def optimiser(*styles: str, **params: object) -> Optimiser:
    given = {"styles": styles, "size": 96, "steps": 3, **params}
    found = pipelines.load(str(MODEL), given, pipeline="optimise", provider="cpu")
    assert isinstance(found, Optimiser)
    return found


def painted(result: Result) -> RenderedPicture:
    assert isinstance(result.found, RenderedPicture), result.error
    return result.found


def one_of(pipeline: Optimiser, content: Image, name: str = "forms.png") -> RenderedPicture:
    return painted(next(pipeline.map([(name, content)], threads=1)))


TARGET = numbers(1, 3, 5, 6, seed=1)
GRAMS = [{"a": gram(numbers(1, 3, 4, 4, seed=2))}, {"a": gram(numbers(1, 3, 7, 5, seed=3))}]
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "content": lambda maps: content_loss(maps, TARGET),
    "style": lambda maps: style_loss(gram(maps), GRAMS[0]["a"]),
    "styles": lambda maps: styles_loss({"a": maps}, GRAMS, [1.0, 0.25]),
    "smoothness": lambda maps: total_variation(maps * 255),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_gradient_of_finite_differences(name: str) -> None:
    loss, at, step = LOSSES[name], numbers(1, 3, 5, 6), 1e-6
    at.requires_grad_()

    (gradient,) = torch.autograd.grad(loss(at), at)

    differences = torch.zeros_like(at)
    with torch.no_grad():
        for index in np.ndindex(*at.shape):
            aside = torch.zeros_like(at)
            aside[index] = step
            differences[index] = (loss(at + aside) - loss(at - aside)) / (2 * step)
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-8)


def test_the_whole_loss_has_the_slope_of_finite_differences_through_the_network() -> None:
    network = LossNetwork(MODEL)
    at, way = 255 * torch.rand(1, 3, 64, 64, dtype=torch.float64), numbers(1, 3, 64, 64, seed=4)
    with torch.no_grad():
        goal = network.maps(255 * torch.rand(1, 3, 64, 64, dtype=torch.float64))
        grams = [{layer: gram(goal[layer]) for layer in network.style}]

    def loss(picture: Tensor) -> Tensor:
        maps = network.maps(picture)
        near = content_loss(maps[network.content[0]], goal[network.content[0]])
        return near + styles_loss(maps, grams, [1.0])

    at.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    with torch.no_grad():
        slope = (loss(at + 1e-6 * way) - loss(at - 1e-6 * way)) / 2e-6

    assert float((gradient * way).sum()) == pytest.approx(float(slope), rel=1e-5)


def test_a_gram_matrix_is_the_mean_of_products_of_channels() -> None:
    maps = numbers(1, 4, 3, 5)

    expected = np.einsum("cij,dij->cd", maps[0].numpy(), maps[0].numpy()) / 15

    np.testing.assert_allclose(gram(maps).numpy(), expected, rtol=1e-12)


def test_the_loss_network_gives_what_onnx_runtime_gives() -> None:
    network, spec = LossNetwork(MODEL), pipelines.read_card(MODEL)
    pixels = np.random.default_rng(5).uniform(0, 255, (1, 3, 70, 90)).astype(np.float32)
    bgr = pixels[:, ::-1] - np.array(spec.input.mean, np.float32).reshape(1, 3, 1, 1)
    session = ort.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])

    with torch.no_grad():
        maps = network.maps(torch.from_numpy(pixels))

    expected = dict(zip(spec.outputs, session.run(list(spec.outputs), {"pictures": bgr}), strict=True))
    assert set(maps) == {"conv1", "fire2", "fire4", "fire5", "fire6"}
    for name, found in maps.items():
        np.testing.assert_allclose(found.numpy(), expected[name], atol=1e-5 * np.abs(expected[name]).max())


def vgg_like(path: Path, kind: str = "Relu", stages: int = 4) -> Path:
    """Stages of two convolutions with their ReLUs, a pool between two stages, as in VGG; the card names no layers."""
    nodes, weights, last = [], [], "x"
    for stage in range(1, stages + 1):
        for number in (1, 2):
            name = f"{stage}_{number}"
            shape = (4, 3 if last == "x" else 4, 3, 3)
            weights.append(numpy_helper.from_array(np.full(shape, 0.1, np.float32), f"w{name}"))
            nodes.append(helper.make_node("Conv", [last, f"w{name}"], [f"conv{name}"], pads=[1, 1, 1, 1]))
            nodes.append(helper.make_node(kind, [f"conv{name}"], [f"relu{name}"]))
            last = f"relu{name}"
        if stage < stages:
            nodes.append(helper.make_node("MaxPool", [last], [f"p{stage}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"p{stage}"
    any_size = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes, "vgg", [helper.make_tensor_value_info("x", TensorProto.FLOAT, any_size)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 4, None, None])], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    resize = Resize(rule="letterbox")
    spec = InputSpec(name="x", height=64, width=64, dynamic=True, mean=(0, 0, 0), std=(1, 1, 1), resize=resize)
    card = Card(
        name="vgg-like", task="pyramid", family="pyramid", input=spec, exporter="a test",
        weights=Weights(source="none", licence="none"),
    )  # fmt: skip
    path.write_bytes(with_card(model.SerializeToString(), card))
    return path


def test_a_network_without_a_word_on_layers_is_compared_where_gatys_compares_vgg(tmp_path: Path) -> None:
    network = LossNetwork(vgg_like(tmp_path / "vgg.onnx"))

    assert network.content == ("relu4_2",)
    assert network.style == ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    assert network.least_side == 4 * 8


def test_a_network_that_cannot_be_run_backwards_here_is_refused_by_its_operation(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"operation Sigmoid .*choose a plain network"):
        LossNetwork(vgg_like(tmp_path / "odd.onnx", "Sigmoid"))
    with pytest.raises(ModelError, match="3 stages of convolutions"):
        LossNetwork(vgg_like(tmp_path / "flat.onnx", stages=3))


@pytest.mark.parametrize("kind", ["lbfgs", "adam"])
def test_the_optimiser_lowers_both_losses_from_noise(tmp_path: Path, kind: str) -> None:
    alike = {"content_weight": 100, "style_weight": 300, "smoothness": 100}
    pipeline = optimiser(written(tmp_path, "stripes"), steps=25, start="noise", optimiser=kind, **alike)

    facts = one_of(pipeline, drawn("forms")).facts

    for name in ("content_loss", "style_loss"):
        first, last = facts[name]
        assert last < 0.85 * first, name


def test_the_same_seed_gives_the_same_picture_and_another_one_another(tmp_path: Path) -> None:
    style = written(tmp_path, "discs")
    one, again, other = (optimiser(style, start="noise", seed=seed) for seed in (1, 1, 2))

    pictures = [one_of(pipeline, drawn("forms")).pixels for pipeline in (one, again, other)]

    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).mean() > 0.5


def test_the_heavier_style_comes_nearer(tmp_path: Path) -> None:
    styles = [written(tmp_path, kind) for kind in ("stripes", "discs")]
    painter = optimiser(*styles, steps=10)
    targets = painter._painter._targets  # type: ignore[attr-defined]
    network = LossNetwork(MODEL)

    def distances(weights: tuple[float, float]) -> list[float]:
        pixels = one_of(optimiser(*styles, style_weights=weights, steps=10), drawn("forms")).pixels
        with torch.no_grad():
            maps = network.maps(torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32)))
            return [float(styles_loss(maps, [target], [1.0])) for target in targets]

    striped, dotted = distances((1.0, 0.05)), distances((0.05, 1.0))

    assert striped[0] < dotted[0]
    assert dotted[1] < striped[1]


def test_a_stop_is_heard_within_a_step_and_gives_no_result(tmp_path: Path) -> None:
    stop, seen = Event(), []

    def step(name: str, one: Step) -> None:
        seen.append((name, one.number))
        if one.number == 2:
            stop.set()

    pipeline = optimiser(written(tmp_path, "stripes"), steps=5000).attended(Attendant(stop, step))

    results = list(pipeline.map([("forms.png", drawn("forms")), ("more.png", drawn("forms"))], stop=stop, threads=1))

    assert results == []
    assert seen == [("forms.png", 1), ("forms.png", 2)]
    with pytest.raises(Halted):
        pipeline(("forms.png", drawn("forms")))


def test_every_nth_picture_is_kept_as_the_result_would_look_and_named_in_it(tmp_path: Path) -> None:
    kept: dict[int, Image] = {}

    def keep(name: str, number: int, pixels: Image) -> str:
        kept[number] = pixels
        return f"{name} {number}"

    given = optimiser(written(tmp_path, "stripes"), steps=5, keep_every=2, size=80, enlarge=True)
    pipeline = given.attended(Attendant(Event(), keep=keep))

    found = one_of(pipeline, drawn("forms"))

    assert found.facts["kept"] == ["forms.png 2", "forms.png 4"]
    assert {pixels.shape for pixels in kept.values()} == {(80, 96, 3)} == {found.pixels.shape}
    assert (kept[2] != kept[4]).any()


def test_original_colours_keep_the_pictures_own(tmp_path: Path) -> None:
    content = drawn("forms")
    result = one_of(optimiser(written(tmp_path, "discs"), steps=5, original_colours=True), content)

    own, made = (cv2.cvtColor(one, cv2.COLOR_RGB2YCrCb).astype(int) for one in (content, result.pixels))

    assert np.median(np.abs(own[..., 1:] - made[..., 1:])) <= 1
    assert np.abs(own[..., 0] - made[..., 0]).max() > 5


def test_what_can_not_be_done_in_time_is_given_up_with_what_to_do(tmp_path: Path) -> None:
    pipeline = optimiser(written(tmp_path, "stripes"), steps=5000).attended(Attendant(Event(), seconds=0.05))

    result = next(pipeline.map([("forms.png", drawn("forms"))], threads=1))

    assert result.error is not None
    assert result.error.code == "timed_out"
    assert "5000 steps take about" in result.error.message
    assert "PIXELMILL_SHARD_SECONDS" in result.error.message


def test_pictures_that_are_too_small_or_no_pictures_are_named(tmp_path: Path) -> None:
    good, tiny, broken = written(tmp_path, "stripes"), written(tmp_path, "discs", (4, 90)), tmp_path / "broken.png"
    broken.write_bytes(Path(good).read_bytes()[:200])

    small = next(optimiser(good).map([("small.png", drawn("forms", (30, 96)))], threads=1))

    assert small.error is not None
    assert small.error.code == "unsupported_pixels"
    assert "needs 64 a side" in small.error.message
    with pytest.raises(ParameterError, match=r"style picture .*discs\.png \(90×4 pixels\).* needs 64 a side"):
        optimiser(tiny)
    with pytest.raises(ParameterError, match=r"style picture .*broken\.png can't be used"):
        optimiser(str(broken))
    with pytest.raises(ParameterError, match="there is no style picture 'nowhere"):
        optimiser("nowhere.jpg")
    with pytest.raises(ParameterError, match="name one or more, --style"):
        optimiser()
    with pytest.raises(ParameterError, match="2 style pictures need 2 weights"):
        optimiser(good, good, style_weights=(1.0,))


def test_a_style_picture_that_changed_since_the_job_began_is_refused(tmp_path: Path) -> None:
    style = written(tmp_path, "stripes")

    with pytest.raises(ParameterError, match="has changed since the job began"):
        optimiser(style, style_sha256=("0" * 64,))
