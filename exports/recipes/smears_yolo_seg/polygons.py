"""Cells with a mask each, for training and for judging: derived from the boxes, since nobody drew them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from exports.recipes import bccd
from exports.recipes.mask_accuracy import MaskTruth
from exports.recipes.smears_masks import derive_masks
from pipelines.image import Limits, decode
from pipelines.masks import PlacedMask
from pipelines.types import Mask

LEAST_AREA = 16  # pixels; what is smaller is the rest of a cell that another one hides
_SMOOTHING = 0.75  # pixels the polygon may leave the mask's edge by


def cells(smear: bccd.Smear) -> Iterator[tuple[int, Mask]]:
    """Derive the masks of a smear: class id and (H, W) bool of every cell that is not hidden by another."""
    pixels = decode(smear.path.read_bytes(), Limits()).pixels
    for label, mask in zip(smear.labels, derive_masks(pixels, smear.boxes, smear.labels), strict=True):
        if np.count_nonzero(mask) >= LEAST_AREA:
            yield bccd.LABELS.index(label), mask


def polygon_lines(smear: bccd.Smear) -> list[str]:
    """Write a smear's cells as YOLO reads them: `class x y x y …`, in shares of the picture."""
    scale = np.array([smear.size[1], smear.size[0]], np.float64)
    lines = []
    for class_id, mask in cells(smear):
        corners = (outline(mask) + 0.5) / scale  # a pixel's middle
        lines.append(" ".join([str(class_id), *(f"{share:.5f}" for share in corners.ravel().tolist())]))
    return lines


def outline(mask: Mask) -> np.ndarray:
    """Walk round the largest piece of a mask. mask: (H, W) bool. Returns (N, 2) x, y of the pixels at its edge."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = max(found, key=len)
    simple = cv2.approxPolyDP(whole, _SMOOTHING, closed=True)
    return (simple if len(simple) >= 3 else whole).reshape(-1, 2)


def truth(smear: bccd.Smear) -> MaskTruth:
    """Give a smear's cells as the measurement of masks wants them."""
    found = list(cells(smear))
    ids = np.array([class_id for class_id, _ in found], np.int64)
    return MaskTruth(smear.path, smear.size, tuple(PlacedMask.cut(mask) for _, mask in found), ids)
