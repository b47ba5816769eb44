"""The two converted networks do what their cards say: measured again on the photographs that the cards name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pipelines
from pipelines.catalog import SHIPPED

pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from exports.recipes.accuracy import box_map, top_1_and_5, yolo_folder
from exports.recipes.imagenet_in_coco import coco_classes, crops

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
COCO = DATA / "coco128"
pytestmark = pytest.mark.skipif(not (COCO / "boxes").is_dir(), reason=f"needs coco128 in PIXELMILL_DATA ({DATA})")


def promised(name: str, metric: str) -> float:
    """What the card of a shipped model says."""
    (value,) = [one.value for one in pipelines.read_card(SHIPPED / f"{name}.onnx").quality if one.metric == metric]
    return value


def test_the_detector_reaches_the_box_map_of_its_card() -> None:
    truths = list(yolo_folder(COCO / "images", COCO / "boxes"))
    detect = pipelines.load("ssd-mobilenet-v2", {"score": 0.001, "max_detections": 100}, provider="cpu")

    whole, fifty = box_map(detect, truths)

    assert whole == pytest.approx(promised("ssd-mobilenet-v2", "box mAP (COCO, IoU 0.50:0.95)"), abs=0.01)
    assert fifty == pytest.approx(promised("ssd-mobilenet-v2", "box mAP50"), abs=0.01)


def test_the_classifier_knows_as_many_objects_as_its_card_says() -> None:
    truths = list(yolo_folder(COCO / "images", COCO / "boxes"))
    objects = list(crops(truths, tuple(coco_classes().values())))

    first, five, count = top_1_and_5(pipelines.load("efficientnet-lite0", {"top_k": 5}, provider="cpu"), objects)

    assert count == 130
    assert first == pytest.approx(promised("efficientnet-lite0", "top-1 on object crops"), abs=0.02)
    assert five == pytest.approx(promised("efficientnet-lite0", "top-5 on object crops"), abs=0.02)
