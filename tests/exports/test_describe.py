"""Networks are described with the figures of the published tables, and every size obeys its own rule."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from exports.catalog import Entry, catalog, find
from exports.commands import describe as command
from exports.errors import DescribeError
from exports.layers import Description, Layer, Window
from pipelines.errors import ParameterError

# Those that are built and described within seconds on a slow core; all others run under `make test-all`.
LIGHT = {
    "lenet5", "lenet5-embedding", "lenet5-pyramid", "dcgan-generator", "dcgan-discriminator", "transformer-net",
    "alexnet", "googlenet", "resnet18", "resnet50", "se-resnet50", "efficientnet-lite0",
    "fasterrcnn-mobilenet-v3-large-320-fpn", "ssdlite320-mobilenet-v3-large",
    "yolo11n", "yolo26n", "yolo11n-seg", "yolo26n-seg",
    "deeplabv3-mobilenet-v3-large", "lraspp-mobilenet-v3-large",
    "alexnet-pyramid", "resnet18-embedding", "resnet18-pyramid", "googlenet-pyramid", "se-resnet50-pyramid",
    "efficientnet-lite0-embedding", "efficientnet-lite0-pyramid",
}  # fmt: skip
ENTRIES = [
    pytest.param(entry, id=entry.name, marks=() if entry.name in LIGHT else pytest.mark.heavy) for entry in catalog()
]


@pytest.mark.torch
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_builds_and_describes(entry: Entry) -> None:
    from exports.build import FIXED
    from exports.describe import describe_entry, table

    described = describe_entry(entry, None if entry.name in FIXED else (128, 160))  # small and not square

    assert described.parameters > 1000
    assert described.macs > 1000
    checked = [layer for layer in described.layers if layer.window]
    assert checked, "nothing was checked by the size rule"
    assert table(described).row_count == len(described.layers) + 1


@pytest.mark.torch
def test_lenet5_has_the_figures_of_the_paper() -> None:
    # LeCun et al. 1998, section II-B: C1 122,304 connections (here without the 6·28·28 of the biases), C5 48,120
    described = describe("lenet5")
    layers = {layer.name: layer for layer in described.layers}

    assert described.parameters == 61_706  # the paper's 60,000: exports/networks/lenet5.py says where they differ
    assert layers["c1"].macs == 122_304 - 6 * 28 * 28
    assert layers["c5"].parameters == 48_120
    assert layers["c3"].output == (1, 16, 10, 10)


@pytest.mark.torch
def test_alexnet_has_the_figures_published_for_it() -> None:
    # torchvision's table for AlexNet (the one column of Krizhevsky, arXiv:1404.5997): 61.1 M parameters, 0.71 G
    described = describe("alexnet")

    assert round(described.parameters / 1e6, 1) == 61.1
    assert round(described.macs / 1e9, 2) == 0.71
    first = described.layers[0]
    assert first.window == Window((11, 11), (4, 4), ((2, 2), (2, 2)))
    assert first.output == (1, 64, 55, 55)


@pytest.mark.torch
def test_vgg16_has_the_figures_published_for_it() -> None:
    # Simonyan and Zisserman, ICLR 2015, table 2: 138 M parameters for network D; torchvision's table: 138.4 M, 15.47 G
    described = describe("vgg16")

    assert described.parameters == 138_357_544
    assert round(described.macs / 1e9, 2) == 15.47


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "giga"),
    [
        # He et al., CVPR 2016, table 1: 1.8 and 3.6 billion multiply-adds (its ResNet-50 has its strides elsewhere)
        ("resnet18", 1.8),
        pytest.param("resnet34", 3.6, marks=pytest.mark.heavy),
        # Szegedy et al., CVPR 2015, section 5: 1.5 billion multiply-adds
        ("googlenet", 1.5),
        # He et al., section 3.3: "VGG-19 … 19.6 billion FLOPs (multiply-adds)"
        pytest.param("vgg19", 19.6, marks=pytest.mark.heavy),
    ],
)
def test_multiply_accumulates_agree_with_the_papers(name: str, giga: float) -> None:
    assert describe(name).macs / 1e9 == pytest.approx(giga, abs=0.07)


@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [
        *("googlenet", "resnet18", "ssdlite320-mobilenet-v3-large"),
        *(pytest.param(n, marks=pytest.mark.heavy) for n in ("resnet50", "resnet101", "resnet152", "ssd300-vgg16")),
    ],
)
def test_figures_agree_with_the_ones_torchvision_publishes(name: str) -> None:
    from torchvision.models import get_model_weights

    meta = get_model_weights(name.replace("-", "_")).DEFAULT.meta

    described = describe(name)

    assert described.parameters == meta["num_params"]
    assert described.macs / 1e9 == pytest.approx(meta["_ops"], abs=0.001)


@pytest.mark.torch
def test_attention_outside_layers_is_counted_too() -> None:
    # Ultralytics' documentation: YOLO11n has 6.5 billion FLOPs at 640, two to a multiply-accumulate
    described = describe("yolo11n")

    assert described.other_macs
    assert described.macs * 2 / 1e9 == pytest.approx(6.5, abs=0.1)


@pytest.mark.torch
def test_a_layer_called_on_every_level_counts_its_parameters_once() -> None:
    from exports.describe import describe_entry

    described = describe_entry(find("fasterrcnn-mobilenet-v3-large-320-fpn"))
    head = [layer for layer in described.layers if layer.name == "rpn.head.cls_logits"]

    assert [layer.call for layer in head] == [1, 2, 3]
    assert [layer.parameters > 0 for layer in head] == [True, False, False]
    assert sum(layer.parameters for layer in described.layers) == described.parameters


@pytest.mark.parametrize(
    ("window", "size", "expected"),
    [
        # Dumoulin and Visin, arXiv:1603.07285, the examples of sections 2.1 to 2.4, 4.1, 4.2 and 5.1
        (Window((3, 3)), (4, 4), (2, 2)),
        (Window((4, 4), padding=((2, 2), (2, 2))), (5, 5), (6, 6)),
        (Window((3, 3), padding=((1, 1), (1, 1))), (5, 5), (5, 5)),
        (Window((3, 3), (2, 2)), (5, 5), (2, 2)),
        (Window((3, 3), (2, 2), ((1, 1), (1, 1))), (6, 6), (3, 3)),
        (Window((3, 3), dilation=(2, 2)), (7, 7), (3, 3)),
        (Window((3, 3), transposed=True), (2, 2), (4, 4)),
        (Window((3, 3), (2, 2), ((1, 1), (1, 1)), transposed=True, extra=(1, 1)), (3, 3), (6, 6)),
        # TensorFlow's SAME
        (Window((3, 3), (2, 2), None), (113, 112), (57, 56)),
    ],
)
def test_the_size_rule_gives_the_sizes_of_the_literature(
    window: Window, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert window.output(size) == expected


@pytest.mark.torch
@pytest.mark.parametrize("side", range(4, 24))
@pytest.mark.parametrize("settings", [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2), (2, 3, 1)])
def test_the_rule_for_rounding_up_is_pytorchs(side: int, settings: tuple[int, int, int]) -> None:
    torch = pytest.importorskip("torch")
    kernel, stride, padding = settings
    pool = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)

    expected = tuple(pool(torch.zeros(1, 1, side, side)).shape[-2:])

    window = Window((kernel,) * 2, (stride,) * 2, ((padding, padding),) * 2, ceil=True)
    assert window.output((side, side)) == expected


def test_a_layer_that_contradicts_its_numbers_is_an_error() -> None:
    wrong = Layer("conv1", "Conv2d", (1, 3, 224, 224), (1, 64, 111, 112), Window((7, 7), (2, 2), ((3, 3), (3, 3))))

    with pytest.raises(DescribeError, match=r"'conv1'.*111×112 for 224×224.*give 112×112"):
        wrong.checked()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of every kind of layer the ONNX side knows, as `torch.onnx.export` writes it."""
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    nn = torch.nn
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
    ).eval()  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one; its files are the ones people have
        torch.onnx.export(
            network, (torch.rand(1, 3, 48, 64),), str(path), dynamo=False, opset_version=17,
            input_names=["images"], dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}},
        )  # fmt: skip
    return path


@pytest.mark.torch
def test_an_onnx_file_has_the_figures_of_the_network_it_came_from(exported: Path) -> None:
    from exports.describe import describe as describe_any

    described = describe_any(str(exported), (48, 64))
    kinds = {layer.kind: layer for layer in described.layers if layer.window or layer.macs}

    # counted by hand: 8·27+8, 8·9+8, 8·4·16+4, 4·10+10
    assert described.parameters == 224 + 80 + 516 + 50
    assert kinds["MaxPool"].output == (1, 8, 12, 16)
    assert kinds["ConvTranspose"].output == (1, 4, 20, 28)
    assert described.macs == 8 * 27 * 24 * 32 + 8 * 9 * 10 * 14 + 8 * 10 * 14 * 4 * 16 + 40
    assert "height 48, width 64" in described.notes[0]


@pytest.mark.torch
def test_weights_stored_small_are_counted_where_they_are_used(exported: Path, tmp_path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    from exports.describe import describe as describe_any

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"images": np.random.default_rng(0).random((1, 3, 48, 64), np.float32)}]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    quantize_static(
        str(exported), str(tmp_path / "small-int8.onnx"), Reader(), op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    assert any(n.op_type == "DequantizeLinear" for n in onnx.load(tmp_path / "small-int8.onnx").graph.node)

    before = describe_any(str(exported), (48, 64))
    after = describe_any(str(tmp_path / "small-int8.onnx"), (48, 64))

    assert (after.parameters, after.macs) == (before.parameters, before.macs)


def test_a_file_that_is_no_onnx_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\xff not a model")

    with pytest.raises(DescribeError, match=r"broken\.onnx is no ONNX file"):
        describe(str(tmp_path / "broken.onnx"))


@pytest.mark.parametrize(
    ("what", "size", "said"),
    [
        ("nothing.onnx", None, "no file"),
        ("resnet18", (8, 8), "at least 32×32"),
        ("resnet18", (9999, 9999), "out of range"),
        ("lenet5", (64, 64), "works at 32×32"),
    ],
)
@pytest.mark.torch
def test_bad_input_is_one_clear_sentence(what: str, size: tuple[int, int] | None, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        describe(what, size)


def test_without_pytorch_one_sentence_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['pixelmill', 'describe', 'lenet5'];"
        "from workers.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert done.returncode == 1
    assert done.stderr == "error: this needs torch, which is not installed: pip install 'pixelmill[export]'\n"


@pytest.mark.torch
def test_the_command_prints_a_table_or_json() -> None:
    printed = CliRunner().invoke(command, ["lenet5"], catch_exceptions=False)
    as_json = json.loads(CliRunner().invoke(command, ["lenet5", "--json"], catch_exceptions=False).output)

    assert "61,706" in printed.output
    assert "16×10×10" in printed.output
    assert as_json["totals"]["parameters"] == 61_706
    assert as_json["layers"][0]["window"]["kernel"] == [5, 5]
    assert as_json["layers"][0]["output"] == [1, 6, 28, 28]


@pytest.mark.torch
def test_feature_maps_are_the_activations_of_the_layer_asked_for(tmp_path: Path, exported: Path) -> None:
    torch = pytest.importorskip("torch")
    from exports.build import build
    from exports.featuremaps import onnx_maps, torch_maps

    entry = find("resnet18")
    network = build(entry, "random").network
    tensor = np.random.default_rng(3).random((1, 3, 64, 64), np.float32)

    maps = torch_maps(network, tensor, entry.facts().input, ["conv1"])
    small = onnx_maps(exported, tensor, [])

    expected = torch.nn.functional.conv2d(torch.from_numpy(tensor), network.get_parameter("conv1.weight"), None, 2, 3)
    np.testing.assert_allclose(maps["conv1"], expected[0].numpy(), atol=1e-4)
    assert [m.shape[0] for m in small.values()] == [8, 8]


@pytest.mark.torch
def test_feature_maps_are_drawn_into_a_whole_png(tmp_path: Path) -> None:
    picture = np.random.default_rng(5).integers(0, 255, (60, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), picture)
    arguments = ["resnet18", "--weights", "random", "--image", str(tmp_path / "in.png"), "--imgsz", "64"]

    done = CliRunner().invoke(
        command, [*arguments, "--layers", "conv1,layer1", "--out", str(tmp_path / "maps.png")], catch_exceptions=False
    )

    drawn = cv2.imread(str(tmp_path / "maps.png"))
    assert done.exit_code == 0
    assert drawn.shape[1] == 1436
    # two layers, 32 maps each, in coloured tiles: far more than the grey of text and the picture's band
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.png", "maps.png"]
    assert len(np.unique(drawn[300:].reshape(-1, 3), axis=0)) > 200


@pytest.mark.torch
@pytest.mark.torch
def test_lenet5_is_drawn_with_its_trained_weights_and_without_its_last_convolution(tmp_path: Path) -> None:
    digit = np.full((28, 28), 0, np.uint8)
    digit[4:24, 12:16] = 255
    cv2.imwrite(str(tmp_path / "one.png"), digit)

    arguments = ["lenet5", "--image", str(tmp_path / "one.png"), "--out", str(tmp_path / "maps.png")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)

    assert done.output.startswith("2 layers of lenet5 drawn")  # C5 gives one pixel a map
    assert cv2.imread(str(tmp_path / "maps.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layers", "conv9"], "did you mean 'conv1'"),
        (["--layers", "fc"], "no maps that could be drawn"),
        (["--image", "missing.jpg"], r"missing\.jpg: there is no such file"),
        (["--out", "maps.jpg"], r"drawn as \.png"),
        (["--out", "missing/maps.png"], "no folder missing"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_sentence_and_writes_nothing(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("in.png", np.zeros((40, 40, 3), np.uint8))

    done = CliRunner().invoke(
        command, ["resnet18", "--weights", "random", "--image", "in.png", "--out", "maps.png", *arguments]
    )

    assert isinstance(done.exception, ParameterError | DescribeError)
    assert re.search(said, str(done.exception))
    assert [file.name for file in tmp_path.iterdir()] == ["in.png"]


def describe(what: str, size: tuple[int, int] | None = None) -> Description:
    from exports.describe import describe as describe_any

    return describe_any(what, size)
