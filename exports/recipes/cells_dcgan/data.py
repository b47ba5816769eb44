"""Single cells cut from BCCD's smears: each box with some of its surroundings, as 64×64 pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from exports.pictures import pixels_of
from exports.recipes.bccd import LABELS, Smear
from pipelines.types import Image

SIDE = 64  # pixels of a cut
MARGIN = 1.2  # a cut's side over the longer side of its box
LEAST = 64  # pixels of the smear that a cut spans at least, so that platelets are not magnified
EDGE = 2  # pixels; a box that is nearer to the picture's edge may be half a cell

Cuts = NDArray[np.uint8]  # (N, 64, 64, 3) RGB


def cut(smears: Iterable[Smear]) -> tuple[Cuts, NDArray[np.int64]]:
    """Cut every whole cell out of the smears.

    Returns the cuts and their labels, (N,) int64, the place in `LABELS`. The cell is in the middle of its cut; what a
    cut would show from outside of its picture is the picture's mirror image.
    """
    cuts, labels = [], []
    for smear in smears:
        pixels = pixels_of(smear.path)
        height, width = smear.size
        for (x1, y1, x2, y2), label in zip(smear.boxes.tolist(), smear.labels, strict=True):
            if x1 < EDGE or y1 < EDGE or x2 > width - EDGE or y2 > height - EDGE:
                continue
            side = round(max(LEAST, MARGIN * max(x2 - x1, y2 - y1)))
            left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
            window = _mirrored(pixels, left, top, side)
            cuts.append(cv2.resize(window, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
            labels.append(LABELS.index(label))
    return np.array(cuts, np.uint8).reshape(-1, SIDE, SIDE, 3), np.array(labels, np.int64)


def every_way(cuts: Cuts) -> Iterator[Cuts]:
    """Give the cuts in all eight ways they may lie: turned by multiples of 90°, mirrored or not."""
    return (np.rot90(one, turns, (1, 2)) for one in (cuts, cuts[:, :, ::-1]) for turns in range(4))


def _mirrored(pixels: Image, left: int, top: int, side: int) -> Image:
    """A square out of a picture, which goes on in its mirror image where the square leaves it."""
    height, width = pixels.shape[:2]
    beyond = (
        (max(0, -top), max(0, top + side - height)),
        (max(0, -left), max(0, left + side - width)),
    )
    inside = pixels[max(0, top) : top + side, max(0, left) : left + side]
    return np.pad(inside, (*beyond, (0, 0)), mode="reflect")
