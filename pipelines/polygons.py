"""The outlines of a mask as polygons, for formats that know no pixels.

A mask's border runs along the edges of its pixels. It is followed corner by corner, and where it climbs in steps of one
pixel the middles of the steps are joined, so a slope is a slope and not a staircase: no pixel's centre changes sides by
that, and a rectangle of pixels stays that rectangle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.masks import PlacedMask
from pipelines.types import Mask

Points = NDArray[np.float64]  # (K, 2) x y in pixels, 0, 0 the top left corner of the picture's first pixel

_LONGEST_CUT = 1.5  # pixels of an edge


def polygons(mask: PlacedMask) -> list[Points]:
    """Give a polygon for each part of a mask, the largest first; no part, no polygon.

    Returns (K, 2) float64 arrays, K ≥ 4: x y at the edges of pixels, not at their centres, in the picture's own pixels;
    a mask of w × h pixels gives a polygon of the area w · h. Parts hang together through edges: two that touch at a
    corner are two. A polygon goes clockwise as seen on a screen and is closed without repeating its first point.

    Holes: a polygon can't have any, so it goes to the hole along a cut without width, round it the other way and back
    along the cut. Filling by either rule (even-odd, non-zero) leaves the hole empty, and the signed area is right.
    """
    rings = [(_sloped(corners), corners) for corners in _rings(mask.pixels)]
    outer = [(ring, corners) for ring, corners in rings if _area(corners) > 0]
    holes = [(ring, corners) for ring, corners in rings if _area(corners) < 0]
    outlines = _with_holes(mask.pixels, outer, holes) if holes else [ring for ring, _ in outer]
    offset = np.array([mask.x, mask.y], np.float64)
    return [outline + offset for outline in sorted(outlines, key=lambda ring: -_area(ring))]


def joined(parts: list[Points]) -> Points:
    """Join polygons to one, for formats that give an object one line: cuts without width lead from part to part.

    parts: at least one. Returns (K, 2) float64.
    """
    whole, *rest = parts
    for part in rest:
        whole = _spliced(whole, part)
    return whole


def _rings(pixels: Mask) -> list[NDArray[np.int64]]:
    """The borders of (h, w) bool pixels as rings of corners, (K, 2) int64 x y: clockwise round parts, else round holes.

    A border changes direction at each corner, so the corners of a row belong together in pairs, and so do those of a
    column. Where two pixels touch at a corner only there are two corners in one place, each turning to the right.
    """
    around = np.pad(pixels, 1)
    north_west, north_east = around[:-1, :-1], around[:-1, 1:]
    south_west, south_east = around[1:, :-1], around[1:, 1:]
    crossed = (north_west == south_east) & (north_east == south_west) & (north_west != north_east)
    single = north_west ^ north_east ^ south_west ^ south_east
    y, x = np.nonzero(single | crossed)
    twice = crossed[y, x]
    if twice.any():
        y, x, second = np.repeat(y, twice + 1), np.repeat(x, twice + 1), np.zeros(len(y) + int(twice.sum()), np.int64)
        second[np.cumsum(twice + 1)[twice] - 1] = 1
    else:
        second = np.zeros(len(y), np.int64)
    following = np.empty(len(y), np.int64)
    left, right = np.arange(0, len(y), 2), np.arange(1, len(y), 2)  # np.nonzero goes row by row
    eastward = south_east[y[left], x[left]]
    following[left[eastward]], following[right[~eastward]] = right[eastward], left[~eastward]
    # of two corners in one place, that with the way to the left also has the way up if the north-western pixel is set
    lower = np.where(north_west[y, x], second, 1 - second) * crossed[y, x]
    down_the_columns = np.lexsort((lower, y, x))
    above, below = down_the_columns[0::2], down_the_columns[1::2]
    southward = south_west[y[above], x[above]]
    following[above[southward]], following[below[~southward]] = below[southward], above[~southward]
    return _cycles(following.tolist(), np.stack([x, y], axis=1))


def _cycles(following: list[int], corners: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    rings, seen = [], bytearray(len(following))
    for first in range(len(following)):
        if seen[first]:
            continue
        ring, corner = [], first
        while not seen[corner]:
            seen[corner] = 1
            ring.append(corner)
            corner = following[corner]
        rings.append(corners[ring])
    return rings


def _sloped(corners: NDArray[np.int64]) -> Points:
    """Join the middles of steps, and leave out corners on a straight line.

    A step is an edge with a right turn at one end and a left turn at the other. A corner between two steps is cut off
    from middle to middle if one of them is a single pixel long: only then does the cut pass by the pixel's centre. Of a
    longer step no more than 1.5 pixels are cut off, so that it passes by a sixth of a pixel at least: pycocotools, for
    one, rounds to fifths before it fills.
    """
    edges = np.roll(corners, -1, axis=0) - corners  # from a corner to the next
    before = np.roll(edges, 1, axis=0)
    turns = np.sign(before[:, 0] * edges[:, 1] - before[:, 1] * edges[:, 0])
    steps = turns != np.roll(turns, -1)
    lengths = np.abs(edges).sum(axis=1)
    cut = steps & np.roll(steps, 1) & (np.minimum(lengths, np.roll(lengths, 1)) == 1)
    # two points a corner: where the cut begins and ends, or twice the corner itself
    points = np.repeat(corners.astype(np.float64), 2, axis=0).reshape(-1, 2, 2)
    share = np.minimum(0.5, _LONGEST_CUT / lengths)[:, None]  # of an edge, from either end
    points[cut, 0] -= (before * np.roll(share, 1, axis=0))[cut]
    points[cut, 1] += (edges * share)[cut]
    flat = points.reshape(-1, 2)
    flat = flat[np.any(flat != np.roll(flat, 1, axis=0), axis=1)]
    ahead, back = np.roll(flat, -1, axis=0) - flat, flat - np.roll(flat, 1, axis=0)
    straight = back[:, 0] * ahead[:, 1] == back[:, 1] * ahead[:, 0]
    kept: Points = flat[~straight]
    return kept


def _with_holes(
    pixels: Mask, outer: list[tuple[Points, NDArray[np.int64]]], holes: list[tuple[Points, NDArray[np.int64]]]
) -> list[Points]:
    """Cut each hole into the outline of the part it lies in."""
    import cv2

    _, labelled = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    parts = labelled.astype(np.int32, copy=False)
    outlines = {_part_of(corners, parts): ring for ring, corners in outer}
    for ring, corners in holes:
        part = _part_of(corners, parts)
        outlines[part] = _spliced(outlines[part], ring)
    return list(outlines.values())


def _part_of(corners: NDArray[np.int64], parts: NDArray[np.int32]) -> int:
    """Which part a ring is the border of: a way to the right goes along the upper edge of a pixel of it."""
    eastward = int(np.argmax(np.roll(corners[:, 0], -1) > corners[:, 0]))
    x, y = corners[eastward]
    return int(parts[y, x])


def _spliced(outline: Points, ring: Points) -> Points:
    """Go along an outline, over to a ring, round it, back, and on."""
    start = int(np.argmin(ring[:, 0]))
    nearest = int(np.argmin(np.square(outline - ring[start]).sum(axis=1)))
    round_trip = np.concatenate([ring[start:], ring[: start + 1]])
    spliced: Points = np.concatenate([outline[: nearest + 1], round_trip, outline[nearest:]])
    return spliced


def _area(ring: NDArray[np.int64] | Points) -> float:
    """Signed area in pixels: positive for a ring that goes clockwise on a screen."""
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
