"""Masks of blood cells, derived inside labelled boxes by classical means, for data that has boxes only.

A stained pixel is one whose colour differs from the empty slide's (Otsu's threshold on the distance in CIE L*a*b*).
A watershed on the picture's own edges, with one marker a box (the middle of its inscribed ellipse), parts cells that
touch; what overlaps without an edge goes to the box whose ellipse holds it deeper. Holes (the pale middle of a red
cell) are filled, and only the largest piece stays. The masks are derived, not drawn by a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from exports.recipes.bccd import LABELS, NAMES
from pipelines.types import Boxes, FloatArray, Image, Mask

CLASSES = ("background", *NAMES)
UNJUDGED = 255  # in a class map: stained, but in no labelled box, so nobody said what it is

_NOISE = 8.0  # levels by which stain differs from the slide at least: the camera's noise
_PALE = 13.0  # and the most that is asked of it: pale cells hardly differ
_DARK = 80.0  # levels from which darker makes no difference
_TOWARDS_SLIDE = 0.5  # a cell's edge is blurred; Otsu's threshold lies inside it
_ROOM = {"red cell": 1.12, "white cell": 1.2, "platelet": 1.25}  # how far a cell may leave the ellipse of its box
_CORE = 0.5  # radius of the ellipse that is the cell for sure: the watershed's marker
_NOT_PURPLE = 2.5  # b* from which a pixel at a white cell's or platelet's rim is a red cell that touches it


def derive_masks(image_rgb: Image, boxes_xyxy: Boxes, labels: Sequence[str]) -> list[Mask]:
    """Find the cell of every box.

    image_rgb: (H, W, 3) uint8. boxes_xyxy: (N, 4) float32, pixels. labels: N of `bccd.LABELS` or `bccd.NAMES`.
    Returns N masks, (H, W) bool, that never overlap; each lies inside its box. Of two boxes round one
    cell the later may get an empty mask.
    """
    height, width = image_rgb.shape[:2]
    if len(boxes_xyxy) == 0:
        return []
    labels = [_name(label) for label in labels]
    stain = stained(image_rgb)
    radii = np.stack([_radius(box, height, width) for box in boxes_xyxy])
    owner = _owners(image_rgb, stain, radii, labels)
    lab = cv2.cvtColor(cv2.GaussianBlur(image_rgb, (9, 9), 2).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    touching = lab[..., 2] > _NOT_PURPLE
    masks = []
    for i, label in enumerate(labels):
        mask = owner == i + 1
        if label != "red cell":
            mask &= ~(touching & (radii[i] > _CORE))
        masks.append(_solid(mask, (owner == i + 1) | (owner == 0), radii[i], label))
    return masks


def semantic_mask(image_rgb: Image, boxes_xyxy: Boxes, labels: Sequence[str]) -> NDArray[np.uint8]:
    """Derive a class for every pixel.

    Arguments as in `derive_masks`.
    Returns (H, W) uint8, index into `CLASSES`; `UNJUDGED` where a stained pixel lies in no labelled cell, because many
    cells of these photographs carry no box.
    """
    classes = np.where(cv2.medianBlur(stained(image_rgb).astype(np.uint8), 7) > 0, UNJUDGED, 0).astype(np.uint8)
    for mask, label in zip(derive_masks(image_rgb, boxes_xyxy, labels), labels, strict=True):
        classes[mask] = CLASSES.index(_name(label))
    return classes


def stained(image_rgb: Image) -> Mask:
    """Tell the pixels of cells from the empty slide's by the green light they absorb, against the red they let through.

    Returns (H, W) bool, with the pale middles of red cells still missing. The threshold is Otsu's, dark nuclei clipped
    so that they do not pull it away, and kept between `_NOISE` and `_PALE` levels from the slide.
    """
    smooth = cv2.GaussianBlur(image_rgb, (5, 5), 1.2).astype(np.float32)
    absorbed = slide_level(smooth[..., 1]) - smooth[..., 1]
    reddish = smooth[..., 0] - smooth[..., 1]
    reddish -= np.median(reddish[np.abs(absorbed) < _NOISE])
    stain = np.clip(absorbed + 0.5 * reddish, 0, _DARK).astype(np.float32)
    otsu, _ = cv2.threshold(stain.astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return stain > float(np.clip(otsu * _TOWARDS_SLIDE, _NOISE, _PALE))


def slide_level(green: NDArray[Any]) -> int:
    """The empty slide's green value: the most frequent one among the brighter half. green: (H, W), 0–255."""
    counts = np.bincount(green.astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    counts = np.convolve(counts, np.ones(5) / 5, mode="same")
    middle = int(np.median(green))
    return middle + int(counts[middle:].argmax())


def _name(label: str) -> str:
    return NAMES[LABELS.index(label)] if label in LABELS else label


def _radius(box: FloatArray, height: int, width: int) -> FloatArray:
    """(H, W) float32: 0 in the box's middle, 1 on its inscribed ellipse, infinite outside the box."""
    left, top, right, bottom = box.tolist()
    x = (np.arange(width, dtype=np.float32) + 0.5 - (left + right) / 2) / max((right - left) / 2, 1)
    y = (np.arange(height, dtype=np.float32) + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 1)
    radius: FloatArray = np.hypot(x[None, :], y[:, None])
    radius[:, np.abs(x) > 1] = np.inf
    radius[np.abs(y) > 1, :] = np.inf
    return radius


def _owners(image: Image, stain: Mask, radii: FloatArray, labels: Sequence[str]) -> NDArray[Any]:
    """(H, W) int32: 1 + the box a pixel belongs to, 0 for none."""
    number = len(labels)
    # a platelet's box inside a red cell's lies in front of it, so its radius counts less
    front = np.array([0.3 if label == "platelet" else 1.0 for label in labels], np.float32)
    room = np.array([_ROOM[label] for label in labels], np.float32)
    nearest = (radii * front[:, None, None]).argmin(axis=0)
    radius = np.take_along_axis(radii, nearest[None], 0)[0]
    mine = stain & (radius < room[nearest])
    markers = np.zeros(stain.shape, np.int32)
    core = radius < _CORE
    markers[core] = nearest[core] + 1
    markers[~core & ~mine] = number + 1
    owner: NDArray[Any] = cv2.watershed(cv2.GaussianBlur(image, (5, 5), 1.2), markers)
    own = np.take_along_axis(radii, np.clip(owner - 1, 0, number - 1)[None], 0)[0]
    wrong = (owner <= 0) | (owner > number) | (own >= room[np.clip(owner - 1, 0, number - 1)])
    owner[wrong] = np.where(mine, nearest + 1, 0)[wrong]
    return owner


def _solid(mask: Mask, free: Mask, radius: FloatArray, label: str) -> Mask:
    """The largest piece of a mask, smoothed, without holes; a red cell's convex hull, as far as it is `free`."""
    side = max(3, int(np.sqrt(mask.sum()) / 8) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return free & (radius < 0.9)
    largest = pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if label == "red cell":
        return _hull(largest) & free & (radius < np.inf)
    return _without_holes(largest) & free & (radius < np.inf)


def _hull(mask: Mask) -> Mask:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(contours[0]), 1)
    return filled.astype(bool)


def _without_holes(mask: Mask) -> Mask:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(bool)
