"""Areas shaded into a picture: translucent in their colour, parted by crisp outlines, whatever lies beneath.

Everything is done on one map of labels, so the time does not grow with the number of areas, and where areas overlap
the upper one has the pixel, not a mixture of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.masks import PlacedMask
from pipelines.palette import Colour
from pipelines.types import Image

AreaMap: TypeAlias = NDArray[np.uint8]  # (H, W) 0 = nothing, 1 … 255 = an area, a greater number lying above a smaller
Corners: TypeAlias = tuple[int, int, int, int]  # x1 y1 x2 y2, x2 and y2 exclusive

MOST_AREAS = 255
_EDGE_SHADE = 0.40  # brightness left beside an outline, which parts it from a like-coloured background
_TINT = 0.40  # of an area's colour over the picture
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_STRIP = 1 << 19  # pixels shaded at once: so few that what lies between stays in the processor's cache
_CROWD = 16  # more areas than this: thinner outlines


def outline_width(height: int, width: int, count: int) -> int:
    """Width in pixels of the outlines in a picture of this size that shows `count` areas."""
    return max(1, round(math.sqrt(height * width) / (270 * math.sqrt(max(1.0, count / _CROWD))) + 0.5))


def shade(picture: Image, areas: AreaMap, colours: Sequence[Colour], line: int, tint: float = _TINT) -> None:
    """Shade areas into a picture, in place.

    picture: (h, w, 3) uint8 RGB. areas: (h, w) uint8. colours: of the areas 1, 2, …; line: width of the outlines.
    An outline runs along the border between two areas, in the colour of the upper one, or of an area and nothing; not
    along the edge of the picture.
    """
    height, width = areas.shape
    halo = _reach(line)
    rows = max(4 * halo, _STRIP // max(width, 1))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        high, low = max(0, top - halo), min(height, bottom + halo)
        _shade_strip(picture[top:bottom], areas[high:low], top - high, colours, line, tint)


def _shade_strip(picture: Image, areas: AreaMap, above: int, colours: Sequence[Colour], line: int, tint: float) -> None:
    """Shade a strip of a picture, in place. areas: the strip's, with `above` rows before it and some after it."""
    # out = picture · kept + colour · laid; both are softened by a pixel, so that slanting lines have no steps
    inside = np.asarray(cv2.threshold(areas, 0, 255, cv2.THRESH_BINARY)[1], np.uint8)
    narrow, wide = line + 1, line + 2 * _hairline(line) + 1
    # a spot of w + 1 pixels meets two areas when its centre is on one of w pixels around their border
    highest, lowest = (_spread(areas, 1, narrow, how) for how in (cv2.MORPH_DILATE, cv2.MORPH_ERODE))
    outlines = _differ(highest, lowest)
    dark = _differ(_spread(highest, narrow, wide, cv2.MORPH_DILATE), _spread(lowest, narrow, wide, cv2.MORPH_ERODE))
    # bits of whole bytes, 255 being a share of 1: an outline before a hairline before an area before nothing
    laid = np.bitwise_and(inside, np.uint8(round(255 * tint)), out=inside)
    laid &= ~dark
    laid |= outlines
    dark &= np.uint8(255 - round(255 * _EDGE_SHADE))
    kept = np.bitwise_not(np.bitwise_or(laid, dark, out=dark), out=dark)
    nearest = _spread(highest, narrow, _reach(line), cv2.MORPH_DILATE)  # an outline reaches beyond its area
    rows = slice(above, above + len(picture))
    softened = (cv2.GaussianBlur(share, (3, 3), 0.6)[rows] for share in (laid, kept))
    over, under = (np.asarray(cv2.cvtColor(share, cv2.COLOR_GRAY2RGB), np.uint8) for share in softened)
    cv2.multiply(_coloured(nearest[rows], colours), over, over, scale=1 / 255)
    cv2.multiply(picture, under, under, scale=1 / 255)
    cv2.add(under, over, picture)


def _hairline(line: int) -> int:
    return max(1, round(line / 5))


def _reach(line: int) -> int:
    """Pixels beyond an area that an outline with its hairlines may touch, and then some; so wide a spot covers them."""
    return line + 2 * _hairline(line) + 2


def _spread(areas: AreaMap, width: int, wider: int, how: int) -> AreaMap:
    """Dilate or erode by an octagon, `wider` across, what has been by one `width` across (1: not at all).

    An octagon is a square and a few crosses, much quicker than a disc. It can be made of one that is narrower by two
    pixels or more.
    """
    (square, crosses), (larger, more) = _octagon(width), _octagon(wider)
    spread, growth = areas, larger - square + 1
    if growth > 1:
        # as if it were one square: the middle of an even one lies right of and below its centre
        anchor = larger // 2 - square // 2
        spread = np.asarray(cv2.morphologyEx(spread, how, np.ones((growth, growth), np.uint8), None, (anchor, anchor)))
    if more > crosses:
        spread = np.asarray(cv2.morphologyEx(spread, how, _CROSS, iterations=more - crosses))
    return spread


def _differ(one: AreaMap, other: AreaMap) -> NDArray[np.uint8]:
    """255 where two maps differ, else 0."""
    return np.asarray(cv2.compare(one, other, cv2.CMP_NE), np.uint8)


def _octagon(width: int) -> tuple[int, int]:
    """Give the side of the square and the number of crosses that make a regular octagon so wide."""
    crosses = round(0.586 * (width - 1) / 2)
    return width - 2 * crosses, crosses


def _coloured(areas: AreaMap, colours: Sequence[Colour]) -> Image:
    """Give each pixel the colour of its area: (H, W, 3)."""
    table = np.zeros((256, 4), np.uint8)
    if colours:  # there is no area otherwise
        table[1 : len(colours) + 1, :3] = colours
    # looked up once, four bytes as one number, and not once a channel
    packed = np.asarray(cv2.LUT(areas, table.view(np.int32).ravel()), np.int32)
    return np.asarray(cv2.cvtColor(packed.view(np.uint8).reshape(*areas.shape, 4), cv2.COLOR_RGBA2RGB), np.uint8)


def shade_masks(
    picture: Image, masks: Sequence[PlacedMask], size: tuple[int, int], colours: Sequence[Colour], line: int
) -> None:
    """Shade masks into a picture, in place, the larger ones below the smaller.

    size: (height, width) of the picture to whose pixels the masks belong; `picture` may be smaller than that.
    """
    order = sorted((k for k in range(len(masks)) if masks[k].pixels.size), key=lambda k: -masks[k].area)
    for start in range(0, len(order), MOST_AREAS):
        chosen = order[start : start + MOST_AREAS]
        placed = [_scaled(masks[k], size, picture.shape[:2]) for k in chosen]
        margin = _reach(line)
        left, top = (max(0, min(part[axis] for part in placed) - margin) for axis in (1, 0))
        bottom = max(y + mask.shape[0] for y, _, mask in placed) + margin
        right = max(x + mask.shape[1] for _, x, mask in placed) + margin
        part = picture[top:bottom, left:right]
        areas = np.zeros(part.shape[:2], np.uint8)
        for number, (y, x, mask) in enumerate(placed, start=1):
            height, width = mask.shape
            beneath = areas[y - top : y - top + height, x - left : x - left + width]
            # each has a greater number than those before it: the greatest is the uppermost
            np.maximum(beneath, mask.view(np.uint8) * np.uint8(number), out=beneath)
        shade(part, areas, [colours[k] for k in chosen], line)


def _scaled(mask: PlacedMask, size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, NDArray[np.bool_]]:
    """Scale a mask from a picture of `size` to one of `target`. Returns y, x and its pixels, at least one."""
    if size == target:
        return mask.y, mask.x, mask.pixels
    (height, width), (from_height, from_width) = target, size
    mask_height, mask_width = mask.pixels.shape
    y1, x1 = min(mask.y * height // from_height, height - 1), min(mask.x * width // from_width, width - 1)
    y2 = min(max(round((mask.y + mask_height) * height / from_height), y1 + 1), height)
    x2 = min(max(round((mask.x + mask_width) * width / from_width), x1 + 1), width)
    pixels = cv2.resize(mask.pixels.view(np.uint8) * 255, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
    return y1, x1, np.asarray(pixels >= 128, np.bool_)


def crest(mask: PlacedMask, size: tuple[int, int], target: tuple[int, int]) -> int | None:
    """Find where a mask reaches its top: the x in a picture of `target`, scaled from `size`; None without any pixel."""
    covered = mask.pixels[:1].nonzero()[1]
    return (mask.x + int(covered[covered.size // 2])) * target[1] // size[1] if covered.size else None
