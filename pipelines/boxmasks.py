"""Masks for boxes that some detector found: every box is cut out with some surroundings and given to a mask head.

The head knows no classes: it says which pixels of the cut-out belong to the object the box is around. Its card's
`decode` names the detector that gives the boxes, and how much of the surroundings it wants to see (`context`: side of
the cut-out over side of the box).
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from pipelines.types import FloatArray, Image

Rectangle: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels; may reach beyond the picture

_OUTSIDE = (127, 127, 127)  # what lies beyond the picture: the mean the backbone was trained with


def surroundings(box: FloatArray, context: float) -> Rectangle:
    """The rectangle of whole pixels around a box that the head sees.

    box: (4,) float32, x1 y1 x2 y2 in pixels. context: how many times as wide and high as the box.
    """
    left, top, right, bottom = (float(value) for value in box)
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    half_x, half_y = max((right - left) * context / 2, 1.0), max((bottom - top) * context / 2, 1.0)
    return (
        int(np.floor(middle_x - half_x)),
        int(np.floor(middle_y - half_y)),
        int(np.ceil(middle_x + half_x)),
        int(np.ceil(middle_y + half_y)),
    )


def cut_out(pixels: Image, rectangle: Rectangle, side: int) -> Image:
    """Cut a rectangle out of a picture and bring it to side × side, whatever its aspect.

    pixels: (H, W, 3) uint8 RGB. Returns (side, side, 3) uint8; grey where the rectangle leaves the picture.
    """
    left, top, right, bottom = rectangle
    height, width = pixels.shape[:2]
    inside = pixels[max(0, top) : max(0, min(bottom, height)), max(0, left) : max(0, min(right, width))]
    beyond = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    if any(beyond):
        inside = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT, value=_OUTSIDE)
    shrinking = (right - left) * (bottom - top) > side * side
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (side, side), interpolation=how), np.uint8)
