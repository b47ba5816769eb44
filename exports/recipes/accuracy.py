"""How good a shipped model is, measured on real pictures through the product's own pipeline."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipelines.pipeline import Pipeline
from pipelines.results import Detections, Labels
from pipelines.types import Boxes, ClassIds, Image


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and the classes that count as right for it."""

    name: str
    pixels: Image
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class Truth:
    """A picture's annotated objects.

    boxes: (N, 4) float32, x1 y1 x2 y2 in pixels. class_ids: (N,) int64. size: (height, width).
    """

    path: Path
    size: tuple[int, int]
    boxes: Boxes
    class_ids: ClassIds


def top_1_and_5(classify: Pipeline, pictures: Iterable[Labelled]) -> tuple[float, float, int]:
    """Measure top-1 and top-5 accuracy.

    classify: a pipeline with `top_k` of 5 or more.
    Returns (top-1, top-5, number of pictures); accuracies in [0, 1].
    """
    first = five = count = 0
    for picture in pictures:
        found = classify((picture.name, picture.pixels)).found
        if not isinstance(found, Labels):
            raise TypeError(f"{picture.name} gave {found!r}, not labels")
        ids = found.class_ids.tolist()
        count += 1
        first += ids[0] in picture.right
        five += not picture.right.isdisjoint(ids[:5])
    return first / count, five / count, count


def box_map(detect: Pipeline, truths: Sequence[Truth]) -> tuple[float, float]:
    """Measure COCO's box mAP and mAP50 with pycocotools.

    detect: a pipeline; for COCO's metric with a score threshold near 0 and 100 detections.
    Returns (mAP at IoU 0.50:0.95, mAP at IoU 0.50), both in [0, 1].
    """
    found = []
    for result in detect.map(truth.path for truth in truths):
        if not isinstance(result.found, Detections):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not detections")
        found.append(result.found)
    return evaluate(found, truths, detect.card.names)


def evaluate(found: Sequence[Detections], truths: Sequence[Truth], names: Sequence[str]) -> tuple[float, float]:
    """COCO's box mAP and mAP50 of what was found in each picture, as `box_map`. names: index = class id."""
    stats = evaluated(found, truths, names).stats
    return float(stats[0]), float(stats[1])


def evaluated(found: Sequence[Detections], truths: Sequence[Truth], names: Sequence[str]) -> COCOeval:
    """pycocotools' whole evaluation of what was found in each picture: `stats`, and `eval` by class and size."""
    annotations = [
        {"image_id": i, "category_id": class_id, "bbox": box, "area": box[2] * box[3]}
        for i, truth in enumerate(truths)
        for box, class_id in zip(_xywh(truth.boxes), truth.class_ids.tolist(), strict=True)
    ]
    rows = [
        {"image_id": i, "category_id": class_id, "bbox": box, "score": score}
        for i, here in enumerate(found)
        for box, score, class_id in zip(_xywh(here.boxes), here.scores.tolist(), here.class_ids.tolist(), strict=True)
    ]
    return _compared("bbox", [truth.size for truth in truths], names, annotations, rows)


def coco_map(
    kind: Literal["bbox", "segm"],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    annotations: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
) -> tuple[float, float]:
    """Have pycocotools compare objects with what was found.

    sizes: (height, width) of every picture, index = image id. names: index = category id.
    annotations, found: objects as COCO writes them, without ids; an annotation has an `area`, a find a `score`.
    Returns (mAP at IoU 0.50:0.95, mAP at IoU 0.50). Raises IndexError if nothing was found at all.
    """
    stats = _compared(kind, sizes, names, annotations, found).stats
    return float(stats[0]), float(stats[1])


def _compared(
    kind: Literal["bbox", "segm"],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    annotations: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
) -> COCOeval:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(sizes)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [{"id": i, "iscrowd": 0, **entry} for i, entry in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports to stdout as it goes
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(list(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def yolo_folder(images: Path, labels: Path) -> Iterator[Truth]:
    """Read photographs with YOLO labels (`class cx cy w h`, shares of the picture), sorted by name."""
    import cv2

    for path in sorted(images.glob("*.jpg")):
        height, width = cv2.imread(str(path), cv2.IMREAD_COLOR).shape[:2]  # type: ignore[union-attr]
        text = labels / f"{path.stem}.txt"  # a picture without objects has no such file
        lines = text.read_text().splitlines() if text.exists() else []
        rows = np.array([line.split() for line in lines], np.float64).reshape(-1, 5)
        centres, sides = rows[:, 1:3] * (width, height), rows[:, 3:5] * (width, height)
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        yield Truth(path, (height, width), corners.astype(np.float32), rows[:, 0].astype(np.int64))


def _xywh(boxes: Boxes) -> list[list[float]]:
    wide: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return wide
