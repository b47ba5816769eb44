"""How good a shipped instance segmenter's masks are, measured through the product's own pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exports.recipes.accuracy import coco_map
from pipelines.masks import PlacedMask
from pipelines.pipeline import Pipeline
from pipelines.results import Instances
from pipelines.types import ClassIds


@dataclass(frozen=True, slots=True)
class MaskTruth:
    """A picture's objects. masks: N. class_ids: (N,) int64. size: (height, width)."""

    path: Path
    size: tuple[int, int]
    masks: tuple[PlacedMask, ...]
    class_ids: ClassIds


def mask_map(segment: Pipeline, truths: Sequence[MaskTruth]) -> tuple[float, float]:
    """Measure COCO's mask mAP and mAP50 with pycocotools.

    segment: a pipeline; for COCO's metric with a score threshold near 0 and 100 detections.
    Returns (mAP at IoU 0.50:0.95, mAP at IoU 0.50), both in [0, 1].
    """
    found = []
    for result in segment.map(truth.path for truth in truths):
        if not isinstance(result.found, Instances):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not instances")
        found.append(result.found)
    return evaluate_masks(found, truths, segment.card.names)


def evaluate_masks(
    found: Sequence[Instances], truths: Sequence[MaskTruth], names: Sequence[str]
) -> tuple[float, float]:
    """COCO's mask mAP and mAP50 of what was found in each picture, as `mask_map`. names: index = class id."""
    annotations = [
        {"image_id": i, "category_id": class_id, "segmentation": mask.to_rle(truth.size), "area": mask.area}
        | {"bbox": [mask.x, mask.y, *reversed(mask.pixels.shape)]}
        for i, truth in enumerate(truths)
        for mask, class_id in zip(truth.masks, truth.class_ids.tolist(), strict=True)
    ]
    rows = [
        {"image_id": i, "category_id": class_id, "segmentation": mask.to_rle(here.size), "score": score}
        for i, here in enumerate(found)
        for mask, score, class_id in zip(here.masks, here.scores.tolist(), here.class_ids.tolist(), strict=True)
    ]
    return coco_map("segm", [truth.size for truth in truths], names, annotations, rows)
