"""R-CNN in the product: warped regions, margins that become scores, box regression, ImageNet's labels, refusals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

import pipelines
from pipelines.card import Card, InputSpec, Resize, Weights, with_card
from pipelines.catalog import SHIPPED, find_pipeline, model_for
from pipelines.errors import CardError, ParameterError
from pipelines.geometry import iou
from pipelines.rcnn import moved
from pipelines.regions import run_regions
from pipelines.results import Detections

onnx = pytest.importorskip("onnx")

SAMPLES = Path(__file__).parents[2] / "samples"
DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_smears = pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason=f"needs bccd in PIXELMILL_DATA ({DATA})")
SIDE = 32
RED, BLUE = (255, 0, 0), (0, 0, 255)


def region_input(side: int = SIDE) -> InputSpec:
    return InputSpec(
        name="regions", height=side, width=side, batch=None, mean=(0.0,) * 3, std=(255.0,) * 3,
        resize=Resize(rule="stretch"),
    )  # fmt: skip


def colour_rcnn(path: Path, deltas: int = 8, **changes: Any) -> Path:
    """An R-CNN whose features are a region's mean colour: one machine for red, one for blue.

    Its regression moves whatever is red a tenth of its width to the right, and leaves the rest where it is.
    """
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    svm = np.array([[10, -10, -10], [-10, -10, 10]], np.float32)
    shift = np.zeros(deltas, np.float32)
    shift[0] = 0.1
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["regions", "axes"], ["features"], keepdims=0),
            helper.make_node("Gemm", ["features", "w", "b"], ["scores"], transB=1),
            helper.make_node("Gemm", ["features", "v", "shift"], ["deltas"], transB=1),
        ],
        "colours",
        [helper.make_tensor_value_info("regions", 1, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, 1, ["batch", n]) for name, n in (("scores", 2), ("deltas", deltas))],
        [
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            numpy_helper.from_array(svm, "w"),
            numpy_helper.from_array(np.array([-3, -3], np.float32), "b"),
            numpy_helper.from_array(np.zeros((deltas, 3), np.float32), "v"),
            numpy_helper.from_array(shift, "shift"),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    told: dict[str, Any] = {
        "name": "colours", "task": "rcnn", "family": "rcnn", "names": ("red", "blue"), "input": region_input(),
        "outputs": ("scores", "deltas"), "decode": {"context": 1.0, "platt": [[1.0, 0.0], [1.0, 0.0]]},
        "weights": Weights(source="test", licence="CC0-1.0"), "exporter": "test", **changes,
    }  # fmt: skip
    path.write_bytes(with_card(model.SerializeToString(), Card(**told)))
    return path


def discs() -> np.ndarray:
    picture = np.full((120, 200, 3), 0, np.uint8)
    cv2.circle(picture, (50, 60), 30, RED, -1)
    cv2.circle(picture, (150, 60), 20, BLUE, -1)
    return picture


def detections(result: pipelines.Result) -> Detections:
    assert isinstance(result.found, Detections), result.error
    return result.found


def test_two_discs_are_found_named_and_moved_as_their_class_says(tmp_path: Path) -> None:
    detect = pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx")), {"score": 0.9})

    found = detections(detect(discs()))

    assert sorted(found.names) == ["blue", "red"]
    by_name = dict(zip(found.names, found.boxes.astype(float), strict=True))
    (x1, y1, x2, y2), blue = by_name["red"], by_name["blue"]
    # the disc's middle is x = 50.5, and the regression adds a tenth of the region's width
    assert (x1 + x2) / 2 == pytest.approx(50.5 + (x2 - x1) / 10, abs=1)
    assert (y1 + y2) / 2 == pytest.approx(60.5, abs=1)
    np.testing.assert_allclose(blue, [130, 40, 171, 81], atol=4)


def test_a_score_is_the_probability_that_the_card_gives_a_margin(tmp_path: Path) -> None:
    whole = np.full((64, 64, 3), 0, np.uint8)
    whole[:] = (200, 40, 0)
    # the machine's margin by hand, then Platt's sigmoid with a = 0.5 and b = −1
    margin = 10 * 200 / 255 - 10 * 40 / 255 - 3
    decode = {"context": 1.0, "platt": [[0.5, -1.0], [0.5, -1.0]]}

    found = detections(pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx", decode=decode)))(whole))

    assert found.names == ("red",)
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(1.0 - 0.5 * margin)), abs=1e-5)


def test_only_the_classes_asked_for_are_given(tmp_path: Path) -> None:
    model = str(colour_rcnn(tmp_path / "colours.onnx"))

    found = detections(pipelines.load(model, {"score": 0.9, "classes": ["blue"]})(discs()))

    assert set(found.names) == {"blue"}


def test_a_region_has_the_published_context_around_its_box() -> None:
    # Girshick et al., appendix A: 16 pixels of context at 227, whatever the aspect of the box
    picture = np.full((300, 300, 3), 255, np.uint8)
    picture[100:160, 80:200] = 0
    seen: list[np.ndarray] = []

    run_regions(
        picture, np.array([[80, 100, 200, 160]], np.float32), region_input(227), lambda t: [seen.append(t.copy()) or t]
    )

    across, down = seen[0][0, 0, 113], seen[0][0, 0, :, 113]
    for line in (across, down):
        dark = np.flatnonzero(line < 0.5)
        assert abs(dark[0] - 16) <= 2
        assert abs(dark[-1] - 210) <= 2


def test_beyond_the_picture_a_region_is_the_mean() -> None:
    spec = region_input(64).model_copy(update={"mean": (127.0,) * 3})
    seen: list[np.ndarray] = []

    run_regions(
        np.full((60, 60, 3), 255, np.uint8), np.array([[0, 0, 60, 60]], np.float32), spec,
        lambda t: [seen.append(t.copy()) or t], context=2.0,
    )  # fmt: skip

    assert np.abs(seen[0][0, :, :14]).max() < 1e-6
    assert seen[0][0, :, 32, 32] == pytest.approx(128 / 255)


def test_many_regions_in_batches_give_what_each_gives_alone() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    corners = np.random.default_rng(2).uniform(0, 60, (70, 2))
    boxes = np.concatenate([corners, corners + 20], axis=1).astype(np.float32)

    def means(batch: np.ndarray) -> list[np.ndarray]:
        return [batch.mean(axis=(2, 3))]

    (together,) = run_regions(picture, boxes, region_input(), means)

    alone = np.concatenate([run_regions(picture, box[None], region_input(), means)[0] for box in boxes])
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_regions_are_moved_as_the_paper_says() -> None:
    # equations (1) to (4): x = w dx + px, w' = w exp(dw), around the centre
    regions = np.array([[10, 20, 30, 60]], np.float32)
    deltas = np.array([[0.5, -0.25, np.log(2), np.log(0.5)]], np.float32)

    np.testing.assert_allclose(moved(regions, deltas), [[10, 20, 50, 40]], atol=1e-4)


def test_a_cat_becomes_an_imagenet_cat_without_any_training() -> None:
    path, card = model_for(find_pipeline("rcnn"), None, {"labels": "imagenet"})
    name = pipelines.load(str(path), {"labels": "imagenet"}, pipeline="rcnn")

    found = detections(name(SAMPLES / "animals" / "cat.jpg"))

    assert len(card.names) == 1000
    assert set(found.names) & {"tabby", "tiger cat", "Egyptian cat"}
    x1, y1, x2, y2 = found.boxes[0]
    assert x2 - x1 > 100
    assert y2 - y1 > 100


def test_a_picture_without_anything_gives_no_detections() -> None:
    name = pipelines.load("efficientnet-lite0", {"labels": "imagenet"}, pipeline="rcnn")

    assert len(detections(name(np.full((80, 80, 3), 127, np.uint8))).boxes) == 0


def test_a_picture_too_small_for_regions_says_how_large_it_must_be(tmp_path: Path) -> None:
    result = pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx")))(np.zeros((5, 9, 3), np.uint8))

    assert result.error is not None
    assert result.error.code == "inference_failed"
    assert "the picture is 9×5 pixels, selective search needs 8 each way" in result.error.message


def test_imagenets_labels_are_not_to_be_had_from_a_model_of_its_own_classes(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'colours' knows its own 2 classes: labels of ImageNet come from"):
        pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx")), {"labels": "imagenet"})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"names": ("red", "blue", "green")}, "3 class names, but its graph tells 2 classes apart"),
        ({"decode": {"context": 1.0}}, r"platt must hold \(a, b\) for each of 2 classes"),
        ({"decode": {"context": 9.0, "platt": [[1, 0], [1, 0]]}}, "context must be a number from 1 to 4, is 9.0"),
        ({"outputs": ("scores",)}, "must have the outputs scores and deltas"),
    ],
)
def test_a_card_that_does_not_fit_its_network_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(CardError, match=complaint):
        pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx", **changes)))


def test_a_network_of_another_number_of_deltas_is_this_pictures_one_error(tmp_path: Path) -> None:
    result = pipelines.load(str(colour_rcnn(tmp_path / "colours.onnx", deltas=12)))(discs())

    assert result.error is not None
    assert "2 classes need 2 scores and 8 deltas a region, the network gives 2 and 12" in result.error.message


def test_a_detectors_model_is_no_rcnn() -> None:
    with pytest.raises(ParameterError, match="for the task 'detect', not for 'rcnn'"):
        model_for(find_pipeline("rcnn"), "ssd-mobilenet-v2")


@needs_smears
def test_the_shipped_model_finds_the_cells_of_a_smear_it_never_saw() -> None:
    root = ElementTree.parse(DATA / "bccd" / "annotations" / "BloodImage_00000.xml").getroot()
    truth = np.array(
        [
            [float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax")]
            for box in root.iter("bndbox")
        ],
        np.float32,
    )

    found = detections(
        pipelines.load("smears-rcnn", {"score": 0.3, "strategy": "single"}, provider="cpu")(
            DATA / "bccd" / "images" / "BloodImage_00000.jpg"
        )
    )

    assert (iou(truth, found.boxes).max(axis=1) >= 0.5).mean() >= 0.7
    assert set(found.names) <= {"red cell", "white cell", "platelet"}


def test_the_shipped_model_is_small_and_promises_what_was_asked_of_it() -> None:
    path = SHIPPED / "smears-rcnn.onnx"
    figures = {one.metric: one.value for one in pipelines.read_card(path).quality}

    assert path.stat().st_size < 8_000_000
    assert figures["box mAP50"] >= 0.60
