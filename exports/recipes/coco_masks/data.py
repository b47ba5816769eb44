"""Photographs with outlined objects: coco128's polygons, a part of them held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from exports.recipes.shipping import data_folder
from pipelines.image import Limits, decode
from pipelines.types import Boxes, Image, Mask

HELD_OUT = 4  # every fourth photograph, in the order of their names
_LEAST = 12.0  # pixels: an object narrower or lower than this is left out, its outline being coarser than that


@dataclass(frozen=True, slots=True)
class Outlined:
    """A photograph and its objects.

    pixels: (H, W, 3) uint8 RGB. boxes: (N, 4) float32, x1 y1 x2 y2, around the outlines. masks: N of (H, W) bool.
    """

    path: Path
    pixels: Image
    boxes: Boxes
    masks: tuple[Mask, ...]


def load(*, held_out: bool, folder: Path | None = None) -> list[Outlined]:
    """Read the photographs to train on, or those held out. folder: of coco128.

    Raises FileNotFoundError if the data is not there.
    """
    root = folder or data_folder() / "coco128"
    labels = sorted((root / "polygons").glob("*.txt"))
    if not labels:
        raise FileNotFoundError(f"{root} holds no polygons")
    chosen = [path for i, path in enumerate(labels) if (i % HELD_OUT == HELD_OUT - 1) == held_out]
    read = (_read(root / "images" / f"{path.stem}.jpg", path) for path in chosen)
    return [one for one in read if len(one.masks)]


def _read(picture: Path, labels: Path) -> Outlined:
    """labels: YOLO's `class x y x y …` a line, in shares of the picture; parts of one object joined by thin bridges."""
    pixels = decode(picture.read_bytes(), Limits()).pixels
    height, width = pixels.shape[:2]
    boxes, masks = [], []
    for line in labels.read_text(encoding="utf-8").splitlines():
        points = np.array(line.split()[1:], np.float64).reshape(-1, 2) * (width, height)
        low, high = points.min(0), points.max(0)
        if (high - low).min() < _LEAST:
            continue
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
        boxes.append(np.concatenate([low, high]))
        masks.append(mask.astype(bool))
    return Outlined(picture, pixels, np.array(boxes, np.float32).reshape(-1, 4), tuple(masks))
