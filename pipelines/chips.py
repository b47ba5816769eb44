"""Label chips: "cat 0.93" on a ground of the class's colour, placed so that chips don't cover one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from pipelines.palette import Colour, text_colour_on
from pipelines.text import fit, put_text_on, text_mask, text_width
from pipelines.types import Image

Corners: TypeAlias = tuple[int, int, int, int]  # x1 y1 x2 y2, x2 and y2 exclusive

_SMALLEST_TEXT = 12  # below this a letter is a smudge
_MOST_OF_PICTURE = 0.25  # that chips may hide


@dataclass(frozen=True, slots=True)
class Label:
    """What a chip says and the box it belongs to.

    crest: where the object in the box reaches its top, as an x; above it the chip is best. None: the box's left edge.
    """

    box: Corners
    name: str
    score: str
    colour: Colour
    crest: int | None = None


@dataclass(frozen=True, slots=True)
class _Chip:
    place: Corners
    name: str
    label: Label


def text_size(height: int, width: int, crowded: bool) -> int:
    """Height in pixels of the chips' text in a picture of this size; even, so that few sizes fill the text cache."""
    scale = math.sqrt(height * width)
    return max(_SMALLEST_TEXT, 2 * round(scale / (100 if crowded else 76)))


def put_chips(picture: Image, labels: Sequence[Label], crowded: bool) -> None:
    """Place a chip for each label, the first having first choice, and draw them in place.

    Chips never cover one another. One that finds no free place is left out, as are all once chips hide a quarter of the
    picture, for then they would hide what they name; the box stays, in the colour of its class.
    """
    height, width = picture.shape[:2]
    size = text_size(height, width, crowded)
    chip_height = text_mask("0", size).shape[0]
    budget = _MOST_OF_PICTURE * height * width
    placed: list[_Chip] = []
    taken: list[Corners] = []
    for label in labels:
        chip = _place(label, (height, width), size, chip_height, taken)
        if chip is None:
            continue
        x1, y1, x2, y2 = chip.place
        budget -= (x2 - x1) * (y2 - y1)
        if budget < 0:
            break
        taken.append(chip.place)
        placed.append(chip)
    for chip in placed:
        x1, y1, x2, y2 = chip.place
        picture[y1:y2, x1:x2] = _rendered(chip.name, chip.label.score, size, x2 - x1, chip.label.colour)


def _place(label: Label, frame: tuple[int, int], size: int, chip_height: int, taken: Sequence[Corners]) -> _Chip | None:
    """Find the first free place for a label's chip; None if there is none."""
    width = frame[1]
    pad, gap = _padding(size)
    score_width = text_width(label.score, size)
    longest = min(width, max(label.box[2] - label.box[0], 12 * size)) - score_width - gap - 2 * pad
    name = fit(label.name, size, max(longest, 0))
    chip_width = 2 * pad + score_width + (text_width(name, size) + gap if name else 0)
    if chip_width > width:
        return None
    place = _first_free(_places(label, frame, chip_width, chip_height), taken)
    return None if place is None else _Chip(place, name, label)


def _padding(size: int) -> tuple[int, int]:
    """Space left and right of a chip's text, and between its name and its score."""
    return max(2, round(size * 0.3)), max(2, round(size * 0.35))


def _places(label: Label, frame: tuple[int, int], width: int, height: int) -> Iterator[Corners]:
    """Where a chip may stand, best first: on the box, in it, below it; over the crest, at its left or right edge."""
    x1, y1, x2, y2 = label.box
    frame_height, frame_width = frame
    crest = () if label.crest is None else (label.crest - width // 2,)
    lefts = [min(max(0, x), frame_width - width) for x in (*crest, x1, x2 - width)]
    tops = (y for y in (y1 - height, y1, y2, y2 - height) if 0 <= y <= frame_height - height)
    return ((left, top, left + width, top + height) for top in tops for left in lefts)


def _first_free(places: Iterable[Corners], taken: Sequence[Corners]) -> Corners | None:
    """Find the first place that shares no pixel with a chip already placed."""
    for place in places:
        x1, y1, x2, y2 = place
        for left, top, right, bottom in taken:
            if x1 < right and left < x2 and y1 < bottom and top < y2:
                break
        else:
            return place
    return None


@lru_cache(maxsize=512)
def _rendered(name: str, score: str, size: int, width: int, ground: Colour) -> Image:
    """Draw a chip by itself: (h, width, 3) uint8, read-only. There are few: classes times hundredths."""
    ink = text_colour_on(ground)
    chip = np.empty((text_mask("0", size).shape[0], width, 3), np.uint8)
    chip[...] = ground
    pad, gap = _padding(size)
    x = pad
    if name:
        put_text_on(chip, name, size, 0, x, ink, ground)
        x += text_width(name, size) + gap
    put_text_on(chip, score, size, 0, x, ink, ground)
    chip.setflags(write=False)
    return chip
