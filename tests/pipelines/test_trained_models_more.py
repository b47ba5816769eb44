"""The networks on EfficientNet-Lite0 do what their cards say, measured again on a fixed sample.

A sample of a few pictures scatters; what is asserted is the card's figure less that scatter.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.errors import CardError
from pipelines.geometry import iou
from pipelines.masks import PlacedMask
from pipelines.results import Instances
from pipelines.session import Session

pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from exports.recipes import bccd
from exports.recipes.accuracy import box_map
from exports.recipes.coco_masks.data import load
from exports.recipes.coco_masks.judging import filled, overlaps, with_true_boxes
from exports.recipes.coco_masks.recipe import head_masks
from exports.recipes.smears_semantic.recipe import overlaps as class_overlaps
from exports.recipes.smears_semantic.training import examples
from pipelines.boxmasks import Paired, cut_out, surroundings

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
SAMPLES = Path(__file__).parents[2] / "samples"
needs_smears = pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason=f"needs bccd in PIXELMILL_DATA ({DATA})")
needs_outlines = pytest.mark.skipif(
    not (DATA / "coco128" / "polygons").is_dir(), reason=f"needs coco128 in PIXELMILL_DATA ({DATA})"
)
METRIC = {"score": 0.001, "max_detections": 100}
NAMES = ("smears-semantic", "smears-fasterrcnn", "coco-masks")


def figures(name: str, metric: str) -> list[float]:
    """What the card of a shipped model promises."""
    return [
        quality.value for quality in pipelines.read_card(SHIPPED / f"{name}.onnx").quality if quality.metric == metric
    ]


@needs_smears
def test_smears_semantic_paints_fifteen_smears_as_its_card_promises() -> None:
    truths = examples(bccd.load("val")[::6][:15])

    each, _ = class_overlaps(pipelines.load("smears-semantic", provider="cpu"), truths)

    (promised,) = figures("smears-semantic", "mIoU")
    assert promised >= 0.80
    assert each.mean() >= promised - 0.05


@needs_smears
def test_smears_fasterrcnn_finds_the_cells_of_fifteen_smears_as_its_card_promises() -> None:
    truths = list(bccd.truths(bccd.load("val")[::6][:15]))

    _, fifty = box_map(pipelines.load("smears-fasterrcnn", METRIC, provider="cpu"), truths)

    (promised,) = figures("smears-fasterrcnn", "box mAP50")
    assert promised >= 0.85
    assert fifty >= promised - 0.05


@needs_outlines
def test_coco_masks_fits_held_out_objects_better_than_their_boxes_do() -> None:
    asked = with_true_boxes(load(held_out=True))[::3]
    head = Session(SHIPPED / "coco-masks.onnx", "cpu")

    ours = overlaps(lambda pixels, boxes: head_masks(head, pixels, boxes), asked).mean()
    box = overlaps(filled, asked).mean()

    assert ours >= figures("coco-masks", "mean mask IoU")[0] - 0.08
    assert ours > box + 0.05


def test_the_mask_head_promises_more_than_both_ways_that_need_no_training() -> None:
    for head, box, cut in zip(
        figures("coco-masks", "mean mask IoU"),
        figures("coco-masks", "mean mask IoU of the filled box"),
        figures("coco-masks", "mean mask IoU of GrabCut"),
        strict=True,
    ):
        assert head > max(box, cut)


def test_coco_masks_gives_each_object_of_the_detector_a_mask_around_its_box() -> None:
    picture = SAMPLES / "animals" / "cat.jpg"
    boxes = pipelines.load("ssd-mobilenet-v2", {"score": 0.3}, provider="cpu")(picture).found

    found = pipelines.load("coco-masks", {"score": 0.3}, provider="cpu")(picture).found

    assert isinstance(found, Instances)
    assert found.names[0] == "cat"
    np.testing.assert_allclose(found.boxes, boxes.boxes, atol=1e-3)  # type: ignore[union-attr]
    assert iou(found.boxes[:1], rectangle(found.masks[0])[None])[0, 0] > 0.7


def rectangle(mask: PlacedMask) -> np.ndarray:
    """Corners of what a mask covers."""
    height, width = mask.pixels.shape
    return np.array([mask.x, mask.y, mask.x + width, mask.y + height], np.float32)


def test_a_picture_without_an_object_gives_no_mask_and_no_error() -> None:
    grey = np.full((240, 320, 3), 114, np.uint8)

    result = pipelines.load("coco-masks", provider="cpu")(grey)

    assert result.error is None
    assert isinstance(result.found, Instances)
    assert result.found.masks == ()


def test_a_mask_head_without_a_detector_is_refused_with_what_its_card_lacks() -> None:
    head = Session(SHIPPED / "coco-masks.onnx", "cpu")
    head.card = head.card.model_copy(update={"decode": {"context": 1.3}})

    with pytest.raises(CardError, match="detector must name a model, it is None"):
        Paired(head, "cpu")


def test_a_cut_out_that_leaves_the_picture_is_grey_there() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    seen = surroundings(np.array([0, 0, 40, 40], np.float32), 2.0)

    cut = cut_out(white, seen, 80)

    assert seen == (-20, -20, 60, 60)
    assert (cut[:20] == 127).all()
    assert (cut[20:60, 20:60] == 255).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_trained_here_says_on_what_and_how_far_it_agrees_with_pytorch(name: str) -> None:
    card = pipelines.read_card(SHIPPED / f"{name}.onnx")

    assert card.name == name
    assert card.weights.training_data
    assert card.weights.sha256
    assert card.parity["passed"]
    assert all(quality.images >= 20 and quality.measured_by for quality in card.quality)


def test_the_three_files_take_less_than_twenty_two_megabytes() -> None:
    assert sum((SHIPPED / f"{name}.onnx").stat().st_size for name in NAMES) < 22_000_000
