"""A legend for a segmented picture: what its colours mean, and how much of the picture each class takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.caption import extended
from pipelines.palette import PAPER, Colour
from pipelines.text import fit, put_text, text_mask, text_width
from pipelines.types import Image

_DARKNESS = 0.22  # brightness left of the picture under the legend
_SMALLEST_TEXT = 11
_MOST_OF_SIDE = 0.42  # of the picture's height and of its width, that the legend may cover
_LONGEST_NAME = 14  # text heights
_MOST_ROWS = 8
_MUTED: Colour = (206, 210, 216)


@dataclass(frozen=True, slots=True)
class Entry:
    """One class: its name, its colour, its share of the picture's pixels in [0, 1]."""

    name: str
    colour: Colour
    share: float


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    share: str
    colour: Colour | None


def with_legend(picture: Image, entries: Sequence[Entry], covered: NDArray[np.uint8]) -> Image:
    """Write a legend into the corner in which it hides least, or beside a picture that is too small for that.

    picture: (h, w, 3) uint8 RGB, changed in place unless it is too small. entries: the most important first.
    covered: (h, w), 0 where the picture shows nothing of any class.
    Returns the picture, or a larger canvas with the legend at its right.
    """
    height, width = picture.shape[:2]
    if not entries or height == 0 or width == 0:
        return picture
    size = max(_SMALLEST_TEXT, 2 * round(math.sqrt(height * width) / 100))
    rows = _rows(entries, int((height * _MOST_OF_SIDE - 2 * _pad(size)) // _row_height(size)))
    panel_height, panel_width = _extent(rows, size)
    if len(rows) < min(2, len(entries)) or panel_width > width * _MOST_OF_SIDE:
        rows = _rows(entries, _MOST_ROWS)
        panel_height, panel_width = _extent(rows, _SMALLEST_TEXT + 1)
        canvas, left = extended(picture, panel_height, panel_width)
        _write(canvas, rows, (canvas.shape[0] - panel_height) // 2, left, panel_width, _SMALLEST_TEXT + 1)
        return canvas
    gap = max(4, size // 2)
    corners = [(y, x) for y in (height - panel_height - gap, gap) for x in (gap, width - panel_width - gap)]
    top, left = min(corners, key=lambda at: _hidden(covered, at, (panel_height, panel_width)))
    panel = picture[top : top + panel_height, left : left + panel_width]
    panel[...] = panel * np.float32(_DARKNESS)
    _write(picture, rows, top, left, panel_width, size)
    return picture


def _rows(entries: Sequence[Entry], room: int) -> list[_Row]:
    """Give the rows to show, at most `room`: the last says how many classes there is no room for."""
    room = min(room, _MOST_ROWS)
    shown = list(entries if len(entries) <= room else entries[: max(0, room - 1)])
    rows = [_Row(entry.name, shown_share(entry.share), entry.colour) for entry in shown]
    rest = entries[len(shown) :]
    if rest and room > 0:
        rows.append(_Row(f"{len(rest)} more", shown_share(sum(entry.share for entry in rest)), None))
    return rows


def shown_share(share: float) -> str:
    """Write a share in [0, 1] in per cent; one that is there but would read 0.0% as "< 0.1%"."""
    return "< 0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def _extent(rows: Sequence[_Row], size: int) -> tuple[int, int]:
    """Height and width of the whole legend."""
    names = max((text_width(fit(row.name, size, _LONGEST_NAME * size), size) for row in rows), default=0)
    shares = max((text_width(row.share, size) for row in rows), default=0)
    return len(rows) * _row_height(size) + 2 * _pad(size), names + shares + 2 * size + 2 * _pad(size) + size // 2


def _hidden(covered: NDArray[np.uint8], at: tuple[int, int], extent: tuple[int, int]) -> int:
    (top, left), (height, width) = at, extent
    return int(np.count_nonzero(covered[top : top + height, left : left + width]))


def _write(picture: Image, rows: Sequence[_Row], top: int, left: int, width: int, size: int) -> None:
    pad, row_height, side = _pad(size), _row_height(size), size * 4 // 5
    for index, row in enumerate(rows):
        y = top + pad + index * row_height
        if row.colour is not None:
            swatch = y + (row_height - side) // 2
            picture[swatch : swatch + side, left + pad : left + pad + side] = row.colour
        text_top = y + (row_height - text_mask("0", size).shape[0]) // 2
        name = fit(row.name, size, _LONGEST_NAME * size)
        put_text(picture, name, size, text_top, left + pad + side + size // 2, PAPER)
        put_text(picture, row.share, size, text_top, left + width - pad - text_width(row.share, size), _MUTED)


def _row_height(size: int) -> int:
    return round(size * 1.4)


def _pad(size: int) -> int:
    return max(4, size // 2)
