"""How well masks fit objects of photographs held out, for the head and for two ways that need no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from exports.recipes.coco_masks.data import Outlined
from pipelines.geometry import iou
from pipelines.pipeline import Pipeline
from pipelines.results import Detections
from pipelines.types import Boxes, FloatArray, Image, Mask

# A picture and boxes in it (N, 4) → a mask of the whole picture a box, in order.
Masker: TypeAlias = Callable[[Image, Boxes], Iterator[Mask]]

SAME_OBJECT = 0.5  # IoU of a detected box with an outlined object's, from which they count as the same
LEAST_SCORE = 0.3  # of a detection
_ITERATIONS = 5  # of GrabCut


@dataclass(frozen=True, slots=True)
class Asked:
    """One photograph with boxes to fill: boxes (N, 4) float32, and the right mask for each."""

    pixels: Image
    boxes: Boxes
    masks: tuple[Mask, ...]


def with_true_boxes(photographs: Sequence[Outlined]) -> list[Asked]:
    """Ask for the objects in the boxes around their own outlines."""
    return [Asked(photo.pixels, photo.boxes, photo.masks) for photo in photographs]


def with_found_boxes(detect: Pipeline, photographs: Sequence[Outlined]) -> list[Asked]:
    """Ask for the objects in boxes a detector found, whatever class it took them for; each box has one object.

    An object no box overlaps by `SAME_OBJECT` is not asked for, a box without an object neither.
    """
    asked = []
    for photo, result in zip(photographs, detect.map(photo.pixels for photo in photographs), strict=True):
        if not isinstance(result.found, Detections):
            raise TypeError(f"{photo.path} gave {result.error or result.found!r}, not detections")
        overlap = iou(result.found.boxes, photo.boxes)
        pairs = []
        while overlap.size and overlap.max() >= SAME_OBJECT:  # the best pair first, each box and object once
            box, thing = (int(i) for i in np.unravel_index(overlap.argmax(), overlap.shape))
            pairs.append((box, thing))
            overlap[box], overlap[:, thing] = 0, 0
        if pairs:
            rows, things = (list(side) for side in zip(*pairs, strict=True))
            asked.append(Asked(photo.pixels, result.found.boxes[rows], tuple(photo.masks[i] for i in things)))
    return asked


def overlaps(masker: Masker, asked: Sequence[Asked]) -> FloatArray:
    """Measure the IoU of every mask with the right one. Returns (objects,) float32."""
    values = []
    for one in asked:
        for given, right in zip(masker(one.pixels, one.boxes), one.masks, strict=True):
            union = int((given | right).sum())
            values.append(int((given & right).sum()) / union if union else 0.0)
    return np.array(values, np.float32)


def filled(pixels: Image, boxes: Boxes) -> Iterator[Mask]:
    """Take everything in the box."""
    for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
        mask = np.zeros(pixels.shape[:2], bool)
        mask[max(0, top) : bottom, max(0, left) : right] = True
        yield mask


def grab_cut(pixels: Image, boxes: Boxes) -> Iterator[Mask]:
    """Take what GrabCut takes, begun from the box.

    Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004, as OpenCV has it. Where it fails or finds nothing, the box.
    """
    height, width = pixels.shape[:2]
    for box, whole in zip(np.rint(boxes).astype(int).tolist(), filled(pixels, boxes), strict=True):
        left, top = max(0, box[0]), max(0, box[1])
        sides = min(width, box[2]) - left, min(height, box[3]) - top
        labels = np.zeros((height, width), np.uint8)
        cv2.setRNGSeed(0)
        if whole.all():  # nothing outside to learn the background from
            yield whole
            continue
        cv2.grabCut(
            np.ascontiguousarray(pixels[..., ::-1]), labels, (left, top, *sides), np.zeros((1, 65)), np.zeros((1, 65)),
            _ITERATIONS, cv2.GC_INIT_WITH_RECT,
        )  # fmt: skip
        mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        yield mask if mask.any() else whole
