"""A mask of one object: its pixels inside its own rectangle, and COCO's run lengths to write it down.

A photograph of 12 megapixels with a hundred objects would need 1.2 GB as whole masks; cut to their rectangles they take
what the objects take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.types import Mask

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48  # of a character of COCO's compressed counts
_LIMITS = 1 << np.arange(_BITS - 1, 62, _BITS)  # what a number must stay below to fit into 1, 2, … characters


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """Which pixels an object covers.

    x, y: the rectangle's top left corner in pixels of the upright original.
    pixels: (h, w) bool, the rectangle; (0, 0) for a mask without any pixel.
    """

    x: int
    y: int
    pixels: Mask

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.bool_ or self.x < 0 or self.y < 0:
            raise ValueError(
                f"a mask is (h, w) bool at x, y ≥ 0, got {self.pixels.dtype.name} of shape {self.pixels.shape} "
                f"at {self.x}, {self.y}"
            )

    @property
    def area(self) -> int:
        """How many pixels it covers."""
        return int(np.count_nonzero(self.pixels))

    @classmethod
    def cut(cls, whole: Mask) -> PlacedMask:
        """Cut a mask of the whole picture, (H, W) bool, down to the rectangle of what it covers."""
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        if rows.size == 0:
            return cls(0, 0, np.zeros((0, 0), np.bool_))
        y1, y2, x1, x2 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        return cls(x1, y1, whole[y1:y2, x1:x2].copy())

    def whole(self, size: tuple[int, int]) -> Mask:
        """Give the mask of the whole picture: (H, W) bool for size = (H, W)."""
        mask = np.zeros(size, np.bool_)
        height, width = self.pixels.shape
        mask[self.y : self.y + height, self.x : self.x + width] = self.pixels
        return mask

    def to_rle(self, size: tuple[int, int]) -> dict[str, Any]:
        """Give COCO's compressed run lengths, `{"size": [H, W], "counts": text}`, for a picture of (H, W).

        Source of the format: `maskApi.c` of the COCO API (runs go down the columns, the first one is background).
        Raises ValueError if the mask reaches beyond the picture.
        """
        height, width = size
        if self.y + self.pixels.shape[0] > height or self.x + self.pixels.shape[1] > width:
            raise ValueError(f"a mask at {self.x}, {self.y} of {self.pixels.shape} reaches beyond a picture of {size}")
        starts, ends = self._runs(height)
        edges = np.stack([starts, ends], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], edges, [height * width]]))
        if counts.size > 1 and counts[-1] == 0:
            counts = counts[:-1]
        return {"size": [height, width], "counts": _compress(counts)}

    def _runs(self, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Begin and end (exclusive) of each run of covered pixels, counted down the columns of the whole picture."""
        tall, wide = self.pixels.shape
        padded = np.zeros((wide, tall + 2), np.bool_)  # one row a column, background at both ends
        padded[:, 1:-1] = self.pixels.T
        columns, rows = np.divmod(np.flatnonzero(padded[:, 1:] != padded[:, :-1]), tall + 1)
        edges = (columns + self.x) * height + rows + self.y
        starts, ends = edges[0::2], edges[1::2]
        # a run that ends at the foot of a column goes on if the next column begins with one
        apart = np.ones(len(starts) + 1, np.bool_)
        apart[1:-1] = starts[1:] != ends[:-1]
        return starts[apart[:-1]], ends[apart[1:]]

    @classmethod
    def from_rle(cls, rle: Mapping[str, Any]) -> PlacedMask:
        """Read what `to_rle` gave, or any COCO run lengths (compressed text or a list of counts).

        Raises ValueError if the runs do not fill the size they name.
        """
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode("ascii")
        runs = _decompress(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
        if (runs.size and runs.min() < 0) or int(runs.sum()) != height * width:
            raise ValueError(
                f"run lengths add up to {int(runs.sum())}, a mask of {height}×{width} has {height * width}"
            )
        covered = np.flatnonzero(runs[1::2]) * 2 + 1
        if covered.size == 0:
            return cls(0, 0, np.zeros((0, 0), np.bool_))
        # only the columns it reaches into: a small object of a large photograph must not take as long as that
        ends = np.cumsum(runs)
        left, right = int(ends[covered[0] - 1]) // height, (int(ends[covered[-1]]) - 1) // height + 1
        edges = np.clip(np.concatenate([[0], ends]), left * height, right * height)
        columns = np.repeat(np.arange(runs.size) % 2 == 1, edges[1:] - edges[:-1]).reshape(right - left, height)
        mask = cls.cut(columns.T)
        return cls(mask.x + left, mask.y, mask.pixels)


def _compress(counts: NDArray[np.int64]) -> str:
    """Write counts as COCO does: each as its difference to the one two before, in 5-bit groups, lowest first."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    # n groups hold −2^(5n − 1) … 2^(5n − 1) − 1
    groups = 1 + np.searchsorted(_LIMITS, np.where(values < 0, ~values, values), side="right")
    ends = np.cumsum(groups)
    place = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - groups, groups)  # of a group in its number
    text = ((np.repeat(values, groups) >> (_BITS * place)) & (_MORE - 1)) | _MORE
    text[ends - 1] &= _MORE - 1
    characters: bytes = (text + _FIRST).astype(np.uint8).tobytes()
    return characters.decode("ascii")


def _decompress(text: str) -> NDArray[np.int64]:
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - _FIRST
        value |= (group & 0x1F) << shift
        shift += _BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return np.array(counts, np.int64)
