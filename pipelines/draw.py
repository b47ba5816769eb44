"""What was found, drawn into the picture: boxes with label chips, or a caption with probability bars.

Drawing runs once an image on the hot path, so it is numpy slices and cached text, nothing else. It keeps no state, so
threads may draw at once, and the same input gives the same pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipelines import caption, chips
from pipelines.palette import colour_of
from pipelines.results import Detections, Found, Instances, Labels, RenderedPicture, SemanticMask
from pipelines.types import Image

__all__ = ["colour_of", "draw"]

_CROWD = 16  # more boxes than this: thinner lines, smaller text
_EDGE_SHADE = 0.45  # brightness left of the pixels around a box's line, which parts it from a like-coloured background


def draw(pixels: Image, size: tuple[int, int], found: Found) -> Image:
    """Draw what was found into a copy of the picture.

    pixels: (h, w, 3) uint8 RGB, upright; may be smaller than the original.
    size: (height, width) of the upright original, in whose pixels the boxes are given.
    Returns uint8 RGB: (h, w, 3) for detections; for labels too, unless the picture is too small to carry a caption, in
    which case it stands, enlarged by a whole factor where it is tiny, on a larger canvas with the caption beside it.
    """
    if isinstance(found, Labels):
        return caption.with_caption(pixels, found)
    if isinstance(found, RenderedPicture):
        return _on_chequers(found.pixels)
    if isinstance(found, SemanticMask):
        return _with_classes(pixels, found)
    return _with_boxes(pixels, size, found)


def line_width(height: int, width: int, count: int) -> int:
    """Width in pixels of a box's line in a picture of this size that shows `count` boxes."""
    return max(1, round(math.sqrt(height * width) / (220 * math.sqrt(max(1.0, count / _CROWD)))))


def _with_boxes(pixels: Image, size: tuple[int, int], found: Detections | Instances) -> Image:
    picture = np.ascontiguousarray(pixels).copy()
    height, width = picture.shape[:2]
    count = len(found.names)
    if count == 0 or height == 0 or width == 0:
        return picture
    corners = _to_picture(found, size, (height, width))
    order = np.argsort(-found.scores, kind="stable").tolist()  # best first
    line = line_width(height, width, count)
    colours = [colour_of(c) for c in found.class_ids.tolist()]
    for index in reversed(order):
        _frame(picture, corners[index], line, colours[index])
    labels = [chips.Label(corners[i], found.names[i], f"{found.scores[i]:.2f}", colours[i]) for i in order]
    chips.put_chips(picture, labels, crowded=count > _CROWD)
    return picture


def _to_picture(
    found: Detections | Instances, size: tuple[int, int], target: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Scale boxes to the picture's pixels; each covers at least one pixel. Returns x1 y1 x2 y2, x2 and y2 exclusive."""
    (height, width), (from_height, from_width) = target, size
    factors = np.array([width / from_width, height / from_height] * 2)
    scaled = np.nan_to_num(found.boxes.astype(np.float64)) * factors
    limits = np.array([width, height])
    low = np.clip(np.floor(scaled[:, :2] + 0.5), 0, limits - 1)
    high = np.clip(np.floor(scaled[:, 2:] + 0.5), low + 1, limits)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in np.hstack([low, high]).astype(int).tolist()]


def _frame(picture: Image, box: tuple[int, int, int, int], line: int, colour: tuple[int, int, int]) -> None:
    """Draw a box's outline inside its edges, with a darkened hairline around and within it."""
    x1, y1, x2, y2 = box
    if line > 1:
        _shade(picture, x1 - 1, y1 - 1, x2 + 1, y2 + 1)
        _shade(picture, x1 + line, y1 + line, x2 - line, y2 - line)
    inner_x, inner_y = min(line, (x2 - x1 + 1) // 2), min(line, (y2 - y1 + 1) // 2)
    picture[y1 : y1 + inner_y, x1:x2] = colour
    picture[y2 - inner_y : y2, x1:x2] = colour
    picture[y1:y2, x1 : x1 + inner_x] = colour
    picture[y1:y2, x2 - inner_x : x2] = colour


def _shade(picture: Image, x1: int, y1: int, x2: int, y2: int) -> None:
    """Darken the one pixel wide outline of a box, as far as it lies in the picture."""
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    height, width = picture.shape[:2]
    left, right, top, bottom = max(0, x1), min(width, x2), max(0, y1), min(height, y2)
    rows = [picture[y, left:right] for y in (y1, y2 - 1) if 0 <= y < height]
    columns = [picture[top:bottom, x] for x in (x1, x2 - 1) if 0 <= x < width]
    for part in (*rows, *columns):
        part[...] = part * _EDGE_SHADE


def _with_classes(pixels: Image, found: SemanticMask) -> Image:
    """Lay every class but the first, the background, over the picture in its colour."""
    height, width = pixels.shape[:2]
    classes = cv2.resize(found.class_map, (width, height), interpolation=cv2.INTER_NEAREST)
    table = np.array([colour_of(c) for c in range(256)], np.uint8)
    blended = cv2.addWeighted(pixels, 0.5, table[classes], 0.5, 0)
    return np.where((classes > 0)[..., None], blended, pixels)


def _on_chequers(pixels: Image) -> Image:
    """Show what is transparent as a pattern of grey squares."""
    if pixels.shape[2] == 3:
        return pixels
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]] // 16
    ground = np.where(((x + y) % 2 == 0)[..., None], np.uint8(220), np.uint8(180))
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return (pixels[..., :3] * alpha + ground * (1 - alpha) + 0.5).astype(np.uint8)
