"""What was found, drawn into the picture: boxes or masks with label chips, shaded classes with a legend, or a caption.

Drawing runs once an image on the hot path, so it is numpy slices, a few passes of OpenCV and cached text, nothing else.
It keeps no state, so threads may draw at once, and the same input gives the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines import caption, chips, legend, shade
from pipelines.palette import Colour, colour_of, is_background, mask_palette
from pipelines.results import Detections, Found, Instances, Labels, RenderedPicture, SemanticMask
from pipelines.types import Image

__all__ = ["colour_of", "draw", "on_chequers", "with_classes"]

_CROWD = 16  # more boxes than this: thinner lines, smaller text
_CLASS_TINT = 0.50  # of a class's colour over the picture
_CHEQUERS = (np.uint8(176), np.uint8(224))
_EDGE_SHADE = 0.45  # brightness left of the pixels around a box's line, which parts it from a like-coloured background


def draw(pixels: Image, size: tuple[int, int], found: Found) -> Image:
    """Draw what was found into a copy of the picture.

    pixels: (h, w, 3) uint8 RGB, upright; may be smaller than the original.
    size: (height, width) of the upright original, in whose pixels the boxes are given.
    Returns uint8 RGB: (h, w, 3) for detections and instances; for labels and classes too, unless the picture is too
    small to carry a caption or a legend: then it stands, enlarged by a whole factor where it is tiny, on a canvas
    with these beside it. A picture that was made is shown itself, what is transparent as chequers.
    """
    if isinstance(found, Labels):
        return caption.with_caption(pixels, found)
    if isinstance(found, RenderedPicture):
        return on_chequers(found.pixels)
    if isinstance(found, SemanticMask):
        return with_classes(pixels, found)
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
    colours = [colour_of(c) for c in found.class_ids.tolist()]
    framed, crests = order, cast("list[int | None]", [None] * count)
    if isinstance(found, Instances):
        shade.shade_masks(picture, found.masks, size, colours, shade.outline_width(height, width, count))
        crests = [shade.crest(mask, size, (height, width)) for mask in found.masks]
        framed = [k for k in order if crests[k] is None]
    line = line_width(height, width, count)
    for index in reversed(framed):
        _frame(picture, corners[index], line, colours[index])
    labels = [chips.Label(corners[i], found.names[i], f"{found.scores[i]:.2f}", colours[i], crests[i]) for i in order]
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
    """Draw a box's outline inside its edges, with a darkened hairline around and, but for the thinnest, within it."""
    x1, y1, x2, y2 = box
    _shade(picture, x1 - 1, y1 - 1, x2 + 1, y2 + 1)
    if line > 1:
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


def with_classes(
    pixels: Image, found: SemanticMask, *, explained: bool = True, palette: Sequence[Colour] | None = None
) -> Image:
    """Shade every class but the background, the smaller ones above the larger; return as `draw`.

    explained: whether a legend says what the colours mean; without it the picture keeps its size.
    palette: colours by class id; None: as the classes' names say.
    """
    picture = np.ascontiguousarray(pixels).copy()
    height, width = picture.shape[:2]
    if height == 0 or width == 0:
        return picture
    counts = cv2.calcHist([found.class_map], [0], None, [256], [0, 256]).ravel()
    present = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    classes = [c for c in present if not is_background(found.names[c])][: shade.MOST_AREAS]
    palette = mask_palette(found.names) if palette is None else palette
    colours = [palette[c] for c in classes]
    numbers = np.zeros(256, np.uint8)
    numbers[classes] = np.arange(1, len(classes) + 1)
    class_map = cv2.resize(found.class_map, (width, height), interpolation=cv2.INTER_NEAREST)
    areas = np.asarray(cv2.LUT(class_map, numbers), np.uint8)
    shade.shade(picture, areas, colours, shade.outline_width(height, width, len(classes)), _CLASS_TINT)
    if not explained:
        return picture
    shares = counts / max(1, found.class_map.size)
    entries = [
        legend.Entry(found.names[c], colour, float(shares[c])) for c, colour in zip(classes, colours, strict=True)
    ]
    return legend.with_legend(picture, entries, areas)


def on_chequers(pixels: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Image:
    """Show what is transparent as a pattern of grey squares.

    pixels: (H, W, 3) uint8 RGB or (H, W, 4) RGBA, not premultiplied. size: (height, width) to scale down to, first.
    Returns a new (h, w, 3) uint8 RGB.
    """
    over = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), np.uint8) if pixels.shape[2] == 4 else pixels.copy()
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    if alpha is not None:  # before scaling: the colours of what can't be seen must not mix with the others
        over = np.asarray(cv2.multiply(over, cv2.merge([alpha] * 3), scale=1 / 255), np.uint8)
    if size is not None and size != pixels.shape[:2]:
        over = np.asarray(cv2.resize(over, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        alpha = (
            alpha
            if alpha is None
            else np.asarray(cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        )
    if alpha is None:
        return over
    height, width = alpha.shape
    side = max(4, round(math.sqrt(height * width) / 50))
    odd = (np.arange(height)[:, None] // side + np.arange(width) // side) % 2
    ground = np.where(odd, *_CHEQUERS).astype(np.uint8)
    under = np.asarray(cv2.multiply(ground, 255 - alpha, scale=1 / 255), np.uint8)
    return np.asarray(cv2.add(over, cv2.merge([under] * 3)), np.uint8)
