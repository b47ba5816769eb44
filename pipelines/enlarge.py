"""Read a network's map at the pixels of the picture: bilinear, a piece at a time.

A map of (h, w) cells lies over the network's input; a pixel's value is mixed from the four cells around its centre, as
PyTorch's `interpolate(mode="bilinear", align_corners=False)` does. Only the piece that is asked for is computed, so a
photograph of 12 megapixels needs no array of its own size a class or an object.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.geometry import Fit
from pipelines.types import FloatArray, Tensor

_HOW = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_CLOSE = 1e-6  # cells


@dataclass(frozen=True, slots=True)
class Taps:
    """Where the centres of some pixels of a row (or column) lie between the cells of a map.

    at: the place of the first one; a cell's centre lies at its number. step: from one pixel to the next, in cells.
    count: how many pixels. first, last: the cells that may be read; a pixel beyond them repeats the nearest one.
    """

    at: float
    step: float
    count: int
    first: int
    last: int

    @property
    def low(self) -> int:
        """The first cell that is read."""
        return self._within(self.at, math.floor)

    @property
    def high(self) -> int:
        """The last cell that is read."""
        return self._within(self.at + (self.count - 1) * self.step, math.ceil)

    def _within(self, place: float, rounded: Callable[[float], int]) -> int:
        return self.first if place <= self.first else self.last if place >= self.last else rounded(place)

    def part(self, start: int, stop: int) -> Taps:
        """Those of the pixels start … stop − 1, or as many of them as there are."""
        count = max(0, min(stop, self.count) - start)
        return Taps(self.at + start * self.step, self.step, count, self.first, self.last)

    def moved(self, by: int) -> Taps:
        """The same for a map whose first cells were cut off (by < 0)."""
        return Taps(self.at + by, self.step, self.count, self.first + by, self.last + by)

    @property
    def fills(self) -> bool:
        """Whether the pixels cover the cells from edge to edge, and are no larger than these."""
        cells = self.last - self.first + 1
        edge = self.at - self.step / 2 + 0.5 - self.first
        return self.step <= 1 and abs(edge) < _CLOSE and abs(self.count * self.step - cells) < _CLOSE


def taps(start: int, stop: int, scale: float, shift: float, first: int, last: int) -> Taps:
    """Between which cells the centres of the pixels start … stop − 1 lie.

    scale, shift: a point p of the pixels' axis lies at p × scale + shift on the cells' axis.
    first, last: the cells that may be read.
    """
    return Taps((start + 0.5) * scale + shift - 0.5, scale, max(0, stop - start), first, last)


def picture_taps(plan: Fit, cells: tuple[int, int], start: tuple[int, int], stop: tuple[int, int]) -> tuple[Taps, Taps]:
    """Between which cells of a map over the network's input pixels of the picture lie; no padding is read.

    cells: (height, width) of the map. start, stop: (row, column) of the first pixel and past the last one.
    Returns those of the rows and of the columns.
    """

    def axis(number: int) -> Taps:
        along = 1 - number  # Fit gives scale and shift as (x, y)
        ratio = cells[number] / plan.padded[number]
        scale = plan.scaled[number] / plan.size[number] * ratio
        shift = plan.shift[along] * ratio
        end = shift + plan.scaled[number] * ratio
        first = min(max(0, int(np.floor(shift))), cells[number] - 1)
        last = max(first, min(cells[number], int(np.ceil(end))) - 1)
        return taps(start[number], stop[number], scale, shift, first, last)

    return axis(0), axis(1)


def sample(maps: Tensor, rows: Taps, columns: Taps, *, out: FloatArray | None = None) -> FloatArray:
    """Read maps at pixels.

    maps: (…, h, w). out: (…, rows.count, columns.count) float32, overwritten. Returns that, or an array of its own.
    """
    read = np.empty((*maps.shape[:-2], rows.count, columns.count), np.float32) if out is None else out
    if read.size == 0:
        return read
    top, left = rows.low, columns.low
    block = maps[..., top : rows.high + 1, left : columns.high + 1].astype(np.float32, copy=False)
    if rows.fills and columns.fills:
        # the same values in a quarter of the time of a warp, but only from edge to edge
        for index in np.ndindex(maps.shape[:-2]):
            cv2.resize(block[index], read.shape[:-3:-1], read[index], interpolation=cv2.INTER_LINEAR)
    else:
        for index in np.ndindex(maps.shape[:-2]):
            _warp(block[index], rows, columns, (top, left), read[index])
    return read


def sample_sum(weights: Tensor, maps: Tensor, rows: Taps, columns: Taps) -> FloatArray:
    """Read a weighted sum of maps at pixels; only cells between which these lie are summed.

    weights: (K,). maps: (K, h, w). Returns (rows.count, columns.count) float32.
    """
    read = np.empty((rows.count, columns.count), np.float32)
    if read.size:
        top, left = rows.low, columns.low
        block = maps[:, top : rows.high + 1, left : columns.high + 1]
        # not BLAS: its threads would fight with those that run the network
        cells = np.einsum("k,khw->hw", weights, block, dtype=np.float32, casting="same_kind")
        _warp(cells, rows, columns, (top, left), read)
    return read


def _warp(block: FloatArray, rows: Taps, columns: Taps, corner: tuple[int, int], out: FloatArray) -> None:
    """Read a map of which only the cells from a corner (row, column) on are there."""
    matrix = np.array([[columns.step, 0, columns.at - corner[1]], [0, rows.step, rows.at - corner[0]]])
    # what lies beyond the block repeats its border, which is `first` and `last` where the pixels reach that far
    cv2.warpAffine(block, matrix, (columns.count, rows.count), out, _HOW, cv2.BORDER_REPLICATE)
