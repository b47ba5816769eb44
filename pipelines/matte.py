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
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.types import FloatArray, Image, Mask

WORKING_PIXELS = 160_000  # the regression runs on a picture reduced to at most about so many
_SURE = 0.9  # cells from which a person grows
_REACH = 8  # cells it may grow through what is only more likely than not
_SMALL = 0.01  # of the largest group of cells: smaller groups are specks
_TRUST_POWER = 4  # how fast a pixel's weight falls with the network's doubt
_LEAST_TRUST = 0.01  # weight of a pixel the network knows nothing about
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


def settle(coarse: FloatArray) -> FloatArray:
    """Decide what a network half believes.

    coarse: (h, w) float32 in [0, 1].
    Returns (h, w) float32: as before within a person and along its contour, 0 where the network is nowhere near sure.
    A person is what can be reached in a few cells from where the network is sure (hysteresis as in Canny, "A
    computational approach to edge detection", TPAMI 1986, but of limited reach); specks don't count.
    """
    likely = (coarse > 0.5).astype(np.uint8)
    person = cv2.morphologyEx((coarse > _SURE).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    cross, square = (cv2.getStructuringElement(shape, (3, 3)) for shape in (cv2.MORPH_CROSS, cv2.MORPH_RECT))
    for turn in range(_REACH):  # by turns, so that it grows about equally far in all directions
        person = cv2.min(cv2.dilate(person, square if turn % 2 else cross), likely)
    person = _without_specks(person)
    around = cv2.dilate(person, np.ones((5, 5), np.uint8)) > 0
    settled: FloatArray = np.where(around, coarse, np.float32(0))
    # what was likely and could not be reached lies at most two cells away here: it is no person either
    return np.where((likely > 0) & (person == 0), np.float32(0), settled)


def _without_specks(person: NDArray[Any]) -> NDArray[np.uint8]:
    _, groups, facts, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    areas = facts[:, cv2.CC_STAT_AREA]
    kept = (areas >= _SMALL * areas[1:].max(initial=0)).astype(np.uint8)
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
    trust = np.maximum((2 * seen - 1) ** _TRUST_POWER, np.float32(_LEAST_TRUST))
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
    alpha = np.einsum("hwc,hwc->hw", colours, slopes[..., :3])
    alpha += slopes[..., 3]
    alpha -= np.float32(_HAZE)
    alpha *= np.float32(1 / (1 - 2 * _HAZE))
    bounded: FloatArray = np.clip(alpha, bounds[..., 0], bounds[..., 1], out=alpha)
    return bounded


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

    def mean(values: FloatArray) -> FloatArray:
        averaged: FloatArray = cv2.boxFilter(  # type: ignore[assignment]
            values, -1, window, borderType=cv2.BORDER_REFLECT
        )
        return averaged

    weighted = colours * trust[..., None]
    share = 1 / mean(trust)
    means = mean(weighted) * share[..., None]
    target_mean = mean(target * trust) * share
    # per pixel the symmetric 3×3 covariance of the colours (rr, rg, rb, gg, gb, bb) and theirs with the target
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    products = mean(np.dstack([weighted[..., i] * colours[..., j] for i, j in pairs])) * share[..., None]
    rr, rg, rb, gg, gb, bb = (products[..., n] - means[..., i] * means[..., j] for n, (i, j) in enumerate(pairs))
    for variance in (rr, gg, bb):
        variance += np.float32(_REGULARISER)
    common = mean(weighted * target[..., None]) * share[..., None] - means * target_mean[..., None]
    # the inverse by cofactors: a solver call a pixel would cost a hundred times as much
    minors = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb, rr * bb - rb * rb, rb * rg - rr * gb)
    last = rr * gg - rg * rg
    scale = 1 / (minors[0] * rr + minors[1] * rg + minors[2] * rb)
    red, green, blue = common[..., 0], common[..., 1], common[..., 2]
    slopes = np.empty((*target.shape, 4), np.float32)
    slopes[..., 0] = (minors[0] * red + minors[1] * green + minors[2] * blue) * scale
    slopes[..., 1] = (minors[1] * red + minors[3] * green + minors[4] * blue) * scale
    slopes[..., 2] = (minors[2] * red + minors[4] * green + last * blue) * scale
    slopes[..., 3] = target_mean - np.einsum("hwc,hwc->hw", slopes[..., :3], means)
    return mean(slopes)
