"""Read a network's map at the pixels of the picture: bilinear, a piece at a time.

A map of (h, w) cells lies over the network's input; a pixel's value is mixed from the four cells around its centre, as
PyTorch's `interpolate(mode="bilinear", align_corners=False)` does. Only the piece that is asked for is computed, so a
photograph of 12 megapixels needs no array of its own size a class or an object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.geometry import Fit
from pipelines.types import FloatArray, Tensor


@dataclass(frozen=True, slots=True)
class Taps:
    """For each pixel along one axis: the two cells it lies between, and how much the second one counts.

    low, high: (n,) int64, ascending. weight: (n,) float32 in [0, 1], the share of `high`.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: FloatArray

    def part(self, start: int, stop: int) -> Taps:
        """Those of the pixels start … stop − 1."""
        return Taps(self.low[start:stop], self.high[start:stop], self.weight[start:stop])

    def moved(self, by: int) -> Taps:
        """The same for a map whose first cells were cut off (by < 0)."""
        return Taps(self.low + by, self.high + by, self.weight)


def taps(start: int, stop: int, scale: float, shift: float, first: int, last: int) -> Taps:
    """Between which cells the centres of the pixels start … stop − 1 lie.

    scale, shift: a point p of the pixels' axis lies at p × scale + shift on the cells' axis.
    first, last: the cells that may be read; a pixel beyond them repeats the nearest one.
    """
    at = np.clip((np.arange(start, stop) + 0.5) * scale + shift - 0.5, first, last)
    low = np.floor(at).astype(np.int64)
    return Taps(low, np.minimum(low + 1, last), (at - low).astype(np.float32))


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


def sample(maps: Tensor, rows: Taps, columns: Taps) -> FloatArray:
    """Read maps at pixels.

    maps: (…, h, w). Returns (…, len(rows), len(columns)) float32.
    """
    if rows.low.size == 0 or columns.low.size == 0:
        return np.zeros((*maps.shape[:-2], rows.low.size, columns.low.size), np.float32)
    top = int(rows.low[0])
    block = maps[..., top : int(rows.high[-1]) + 1, :].astype(np.float32, copy=False)
    wide = _mix(block[..., columns.low], block[..., columns.high], columns.weight)
    return _mix(wide[..., rows.low - top, :], wide[..., rows.high - top, :], rows.weight[:, None])


def _mix(low: FloatArray, high: FloatArray, weight: FloatArray) -> FloatArray:
    """low + (high − low) × weight, in place of `high`."""
    high -= low
    high *= weight
    high += low
    return high
