"""From a network's coarse matte to a soft edge at the picture's own resolution.

A network says for a grid of a few hundred cells a side how much of each is person. Enlarged, that edge is as wide as a
cell, cuts through hair, and walls shine through where the network hesitated. Three steps mend it:

1. `settle` decides what the network half believes; only the contour stays open.
2. A regression in every small window, "how much of a pixel of this colour is person", in which a pixel counts as much
   as the network is sure of it: the guided filter (He, Sun, Tang, "Guided image filtering", TPAMI 2013, eq. 19–21 for a
   guide in colour) with weights. It gives four numbers a pixel, smooth enough to be computed on a reduced picture
   (He, Sun, "Fast guided filter", arXiv:1505.00996) and applied to the full one.
3. Away from the contour the settled matte holds, so that textures inside and outside leave no haze.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.types import FloatArray, Image, Mask

WORKING_PIXELS = 160_000  # the regression runs on a picture reduced to at most about so many
_SURE = 0.9  # cells from which a person grows
_REACH = 8  # cells it may grow through what is only more likely than not
_SMALL = 0.01  # of the largest group of cells: smaller groups are specks, unless told otherwise
_LEAST_TRUST = 0.01  # weight of a pixel the network knows nothing about; it grows with the fourth power of sureness
_REGULARISER = 2e-4  # ε of the guided filter for colours 0–1: below a contrast of √ε an edge is not followed
_HAZE = 0.08  # what the regression leaves of 0 and takes from 1 in noise, stretched away
_WINDOW = 2.5  # half the regression's window, in the network's cells
_BAND = 2.0  # half the width of the open contour, in the network's cells


@dataclass(frozen=True, slots=True)
class Matte:
    """How much of each pixel is person, by a rule that is applied piece by piece to a picture of any size.

    A pixel of colour (r, g, b), 0–1, is person by r·s₀ + g·s₁ + b·s₂ + s₃, the haze stretched away, within the bounds.

    step: a pixel of the reduced picture is so many pixels of the picture wide and high.
    slopes: (h, w, 4) float32 at the reduced size.
    bounds: (h, w, 2) float32 in [0, 1] at the reduced size: least and most; equal away from the contour.
    colours: (h, w, 3) float32 in [0, 1], the reduced picture.
    alpha: (h, w) float32 in [0, 1], the rule applied to the reduced picture.
    cell: width of a cell of the network in reduced pixels, at least 1.
    size: (height, width) of the picture.
    """

    step: int
    slopes: FloatArray
    bounds: FloatArray
    colours: FloatArray
    alpha: FloatArray
    cell: float
    size: tuple[int, int]

    @property
    def share(self) -> float:
        """Which share of the picture is person."""
        return float(self.alpha.mean())


def settle(coarse: FloatArray, least: float = _SMALL) -> FloatArray:
    """Decide what a network half believes.

    coarse: (h, w) float32 in [0, 1]. least: groups of cells smaller than this share of the largest are specks.
    Returns (h, w) float32: as before within a person and along its contour, 0 where the network is nowhere near sure.
    A person is what can be reached in a few cells from where the network is sure (hysteresis as in Canny, "A
    computational approach to edge detection", TPAMI 1986, but of limited reach); specks don't count.
    """
    likely = (coarse > 0.5).astype(np.uint8)
    person = cv2.morphologyEx((coarse > _SURE).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    cross, square = (cv2.getStructuringElement(shape, (3, 3)) for shape in (cv2.MORPH_CROSS, cv2.MORPH_RECT))
    for turn in range(_REACH):  # by turns, so that it grows about equally far in all directions
        person = cv2.min(cv2.dilate(person, square if turn % 2 else cross), likely)
    person = _without_specks(person, least)
    around = cv2.dilate(person, np.ones((5, 5), np.uint8)) > 0
    settled: FloatArray = np.where(around, coarse, np.float32(0))
    # what was likely and could not be reached lies at most two cells away here: it is no person either
    return np.where((likely > 0) & (person == 0), np.float32(0), settled)


def _without_specks(person: NDArray[Any], least: float) -> NDArray[np.uint8]:
    _, groups, facts, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    areas = facts[:, cv2.CC_STAT_AREA]
    kept = (areas >= least * areas[1:].max(initial=0)).astype(np.uint8)
    kept[0] = 0
    cleaned: NDArray[np.uint8] = kept[groups]
    return cleaned


def refine(pixels: Image, settled: FloatArray, feather: float = 0.0) -> Matte:
    """Fit the rule that follows the picture's own edges.

    pixels: (H, W, 3) uint8 RGB. settled: (h, w) float32 in [0, 1], what `settle` gave, spread over the whole picture.
    feather: how much wider the edge is made in the end, in percent of the picture's longer side.
    """
    size = pixels.shape[:2]
    step = max(1, math.ceil(math.sqrt(size[0] * size[1] / WORKING_PIXELS)))
    colours = reduced(pixels, step).astype(np.float32) * np.float32(1 / 255)
    seen = _spread(settled, colours.shape[:2], step, size)
    cell = max(1.0, size[0] / settled.shape[0] / step, size[1] / settled.shape[1] / step)
    trust = np.maximum(np.square(np.square(2 * seen - 1)), np.float32(_LEAST_TRUST))
    target = np.clip(4 * seen - 1.5, 0, 1)
    slopes = _regression(colours, target, trust, max(3, round(_WINDOW * cell)))
    bounds = _bounds(seen > 0.5, cell)
    alpha = alpha_of(colours, slopes, bounds)
    if feather > 0:
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather / 100 * max(size) / step / 2)  # type: ignore[assignment]
        slopes = np.zeros_like(slopes)
        bounds = np.dstack([alpha, alpha])
    return Matte(step, slopes, bounds, colours, alpha, cell, size)


def alpha_of(colours: FloatArray, slopes: FloatArray, bounds: FloatArray) -> FloatArray:
    """Apply the rule.

    colours: (h, w, 3) float32 in [0, 1]. slopes: (h, w, 4), bounds: (h, w, 2) float32, as in `Matte`.
    Returns (h, w) float32 in [0, 1].
    """
    return alpha_of_planes(planes_of(colours), planes_of(slopes), planes_of(bounds))


def alpha_of_planes(
    colours: Sequence[FloatArray], slopes: Sequence[FloatArray], bounds: Sequence[FloatArray]
) -> FloatArray:
    """Apply the rule to planes, 3, 4 and 2 of (h, w) float32; see `alpha_of`."""
    alpha = colours[0] * slopes[0]
    alpha += colours[1] * slopes[1]
    alpha += colours[2] * slopes[2]
    alpha += slopes[3]
    alpha -= np.float32(_HAZE)
    alpha *= np.float32(1 / (1 - 2 * _HAZE))
    np.maximum(alpha, bounds[0], out=alpha)
    bounded: FloatArray = np.minimum(alpha, bounds[1], out=alpha)
    return bounded


def planes_of(values: FloatArray) -> tuple[FloatArray, ...]:
    """Split (h, w, C) into C planes of (h, w), with which numpy computes several times as fast."""
    # cv2.split takes up to twenty times as long where a row is no multiple of 16 bytes (OpenCV 5.0)
    return tuple(np.ascontiguousarray(np.moveaxis(values, -1, 0)))


def reduced(pixels: Image, step: int) -> Image:
    """Average squares of step × step pixels; the picture's last row and column are repeated where it does not fit.

    pixels: (H, W, 3) uint8. Returns (⌈H / step⌉, ⌈W / step⌉, 3) uint8.
    """
    if step == 1:
        return pixels
    height, width = pixels.shape[:2]
    more = -height % step, -width % step
    if any(more):
        pixels = cv2.copyMakeBorder(pixels, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    target = pixels.shape[1] // step, pixels.shape[0] // step
    averaged: Image = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return averaged


def _spread(settled: FloatArray, target: tuple[int, int], step: int, size: tuple[int, int]) -> FloatArray:
    """Lay the network's grid over the reduced picture, whose last row and column may reach beyond the picture."""
    scale_y, scale_x = settled.shape[0] / size[0] * step, settled.shape[1] / size[1] * step
    way = np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    spread: FloatArray = cv2.warpAffine(  # type: ignore[assignment]
        settled, way, (target[1], target[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return spread


def _bounds(person: Mask, cell: float) -> FloatArray:
    reach = 2 * max(1, round(_BAND * cell)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    soft = (max(3, round(cell)) | 1,) * 2  # the bounds end softly, so that no line shows where the rule ends
    inside = person.astype(np.float32)
    return np.dstack([cv2.blur(cv2.erode(inside, disc), soft), cv2.blur(cv2.dilate(inside, disc), soft)])


def _regression(colours: FloatArray, target: FloatArray, trust: FloatArray, radius: int) -> FloatArray:
    """Weighted linear regression of `target` on colours in every window of (2·radius + 1)², averaged over windows.

    Returns (h, w, 4) float32: three slopes and the offset.
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def means(*planes: FloatArray) -> tuple[Any, ...]:
        # four at once take OpenCV as long as two one by one, and nine as long as ten
        averaged: Any = cv2.boxFilter(cv2.merge(planes), -1, window, borderType=cv2.BORDER_REFLECT)
        return planes_of(averaged)

    r, g, b = planes_of(colours)
    sure = target * trust
    tr, tg, tb = r * trust, g * trust, b * trust
    weight, *colour_sums = means(trust, tr, tg, tb)
    share = 1 / weight
    rr, rg, rb, gg = means(tr * r, tr * g, tr * b, tg * g)
    gb, bb, target_sum, red = means(tg * b, tb * b, sure, sure * r)
    green, blue = means(sure * g, sure * b)
    mr, mg, mb = (total * share for total in colour_sums)
    target_mean = target_sum * share
    # per pixel the symmetric 3×3 covariance of the colours and theirs with the target
    rr, rg, rb = rr * share - mr * mr, rg * share - mr * mg, rb * share - mr * mb
    gg, gb, bb = gg * share - mg * mg, gb * share - mg * mb, bb * share - mb * mb
    for variance in (rr, gg, bb):
        variance += np.float32(_REGULARISER)
    red, green, blue = (total * share - mean * target_mean for total, mean in ((red, mr), (green, mg), (blue, mb)))
    # the inverse by cofactors: a solver call a pixel would cost a hundred times as much
    minors = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb, rr * bb - rb * rb, rb * rg - rr * gb)
    last = rr * gg - rg * rg
    scale = 1 / (minors[0] * rr + minors[1] * rg + minors[2] * rb)
    by_red = (minors[0] * red + minors[1] * green + minors[2] * blue) * scale
    by_green = (minors[1] * red + minors[3] * green + minors[4] * blue) * scale
    by_blue = (minors[2] * red + minors[4] * green + last * blue) * scale
    offset = target_mean - by_red * mr - by_green * mg - by_blue * mb
    slopes: FloatArray = cv2.boxFilter(
        cv2.merge([by_red, by_green, by_blue, offset]), -1, window, borderType=cv2.BORDER_REFLECT
    )
    return slopes
