"""Label chips: "cat 0.93" on a ground of the class's colour, placed so that chips don't cover one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.palette import Colour, text_colour_on
from pipelines.text import fit, put_text, text_mask, text_width
from pipelines.types import Image

Corners: TypeAlias = tuple[int, int, int, int]  # x1 y1 x2 y2, x2 and y2 exclusive

_SMALLEST_TEXT = 10  # below this a letter is a smudge


@dataclass(frozen=True, slots=True)
class Label:
    """What a chip says and the box it belongs to."""

    box: Corners
    name: str
    score: str
    colour: Colour


@dataclass(frozen=True, slots=True)
class _Chip:
    place: Corners
    name: str
    label: Label


def text_size(height: int, width: int, crowded: bool) -> int:
    """Height in pixels of the chips' text in a picture of this size; even, so that few sizes fill the text cache."""
    scale = math.sqrt(height * width)
    return max(_SMALLEST_TEXT, 2 * round(scale / (100 if crowded else 76)))


def put_chips(picture: Image, labels: Sequence[Label], line: int, crowded: bool) -> None:
    """Place a chip for each label, the first having first choice, and draw them in place, the first on top.

    A chip that can't stand free of those before it covers as little of them as it can; in a crowd it is left out. A
    picture too small for any text gets none.
    """
    height, width = picture.shape[:2]
    size = text_size(height, width, crowded)
    chip_height = text_mask("0", size).shape[0]
    if chip_height * 2 > height or size * 3 > width:
        return
    placed: list[_Chip] = []
    for label in labels:
        chip = _place(label, (height, width), size, chip_height, line, crowded, placed)
        if chip is not None:
            placed.append(chip)
    for chip in reversed(placed):
        _put(picture, chip, size)


def _place(
    label: Label, frame: tuple[int, int], size: int, chip_height: int, line: int, crowded: bool, placed: list[_Chip]
) -> _Chip | None:
    """Find the first free place for a label's chip, or the one that covers least."""
    width = frame[1]
    pad, gap = _padding(size)
    score_width = text_width(label.score, size)
    longest = min(width, max(label.box[2] - label.box[0], 12 * size)) - score_width - gap - 2 * pad
    name = fit(label.name, size, max(longest, 0))
    chip_width = 2 * pad + score_width + (text_width(name, size) + gap if name else 0)
    if chip_width > width:
        return None
    best, least = None, None
    for place in _places(label.box, frame, chip_width, chip_height, line):
        covered = sum(_overlap(place, other.place) for other in placed)
        if covered == 0:
            return _Chip(place, name, label)
        if least is None or covered < least:
            best, least = place, covered
    return _Chip(best, name, label) if best is not None and not crowded else None


def _padding(size: int) -> tuple[int, int]:
    """Space left and right of a chip's text, and between its name and its score."""
    return max(2, round(size * 0.3)), max(2, round(size * 0.35))


def _places(box: Corners, frame: tuple[int, int], width: int, height: int, line: int) -> Iterator[Corners]:
    """Where a chip may stand, best first: on the box, in it, below it; at its left, then at its right edge."""
    x1, y1, x2, y2 = box
    frame_height, frame_width = frame
    for y in (y1 - height, y1, y2, y2 - height):
        if not 0 <= y <= frame_height - height:
            continue
        for x in (x1, x2 - width):
            left = min(max(0, x), frame_width - width)
            yield (left, y, left + width, y + height)


def _overlap(a: Corners, b: Corners) -> int:
    """Pixels that two rectangles share."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    if wide <= 0:
        return 0
    return wide * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _put(picture: Image, chip: _Chip, size: int) -> None:
    x1, y1, x2, y2 = chip.place
    ink = text_colour_on(chip.label.colour)
    picture[y1:y2, x1:x2] = chip.label.colour
    pad, gap = _padding(size)
    x = x1 + pad
    if chip.name:
        put_text(picture, chip.name, size, y1, x, ink)
        x += text_width(chip.name, size) + gap
    put_text(picture, chip.label.score, size, y1, x, ink)
