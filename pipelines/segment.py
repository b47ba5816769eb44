"""Read a semantic segmenter's output: a class for every pixel of the picture, at the picture's own size.

semantic-logits  (C, h, w) scores before softmax, h and w those of the network's input or an even part of them

Scores are enlarged, not classes, so that borders are smooth; then the best class wins. That equals enlarging all C maps
and taking the largest, but is done in tiles, and in each of them only for the classes that can win there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.card import Card
from pipelines.enlarge import Taps, picture_taps, sample
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.params import SegmentParams
from pipelines.results import SemanticMask
from pipelines.types import FloatArray, Tensor

FAMILIES = ("semantic-logits",)
MAX_CLASSES = 256  # a class map is uint8
_WHOLE = 1 << 20  # pixels of a picture that is computed in one piece, which is quicker but takes memory
_TILE = 512  # pixels a side of the pieces of a larger one
_FINE = 4  # pixels a cell from which on it pays to look at every cell for classes that can't win


def reader(card: Card, params: SegmentParams) -> Callable[[Sequence[Tensor], Fit], SemanticMask]:
    """Build the function that turns one picture's output into a class for every pixel of the upright original.

    Raises CardError for a family that is no semantic segmenter's, too many classes, or an input that sees only a part
    of the picture.
    """
    if card.family not in FAMILIES:
        raise CardError(f"model {card.name!r} is of family {card.family!r}: segment reads {', '.join(FAMILIES)}")
    if not 1 <= len(card.names) <= MAX_CLASSES:
        raise CardError(f"model {card.name!r} has {len(card.names)} class names: segment takes 1 to {MAX_CLASSES}")
    if card.input.resize.rule == "crop":
        raise CardError(
            f"model {card.name!r} crops its input, so that a part of the picture would get no class: its "
            "input.resize.rule must be stretch, letterbox, shorter-side or keep"
        )
    names = card.names
    shown = np.arange(len(names), dtype=np.uint8)
    if params.classes:
        shown[[i for i, name in enumerate(names) if name not in params.classes]] = 0

    def read(outputs: Sequence[Tensor], fit: Fit) -> SemanticMask:
        logits = outputs[0]
        if logits.ndim != 3 or len(logits) != len(names):
            raise ValueError(f"an output of {len(names)} maps was expected, one a class, this one is {logits.shape}")
        class_map = best_class(logits, fit)
        return SemanticMask(shown[class_map] if params.classes else class_map, names)

    return read


def best_class(logits: Tensor, plan: Fit) -> NDArray[np.uint8]:
    """Give the class of the highest score at every pixel of the picture.

    logits: (C, h, w) over the network's input. Returns (H, W) uint8 for `plan.size` = (H, W).
    """
    height, width = plan.size
    rows, columns = picture_taps(plan, (logits.shape[1], logits.shape[2]), (0, 0), plan.size)
    found = np.empty((height, width), np.uint8)
    side = max(height, width) if height * width <= _WHOLE else _TILE
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = found[top : top + side, left : left + side]
            _fill(tile, logits, rows.part(top, top + side), columns.part(left, left + side))
    return found


def _fill(tile: NDArray[np.uint8], logits: Tensor, rows: Taps, columns: Taps) -> None:
    top, left = rows.low, columns.low
    block = logits[:, top : rows.high + 1, left : columns.high + 1].astype(np.float32, copy=False)
    able = _can_win(block, fine=tile.size >= _FINE * block[0].size)
    tile[:] = able[0]
    if len(able) == 1:
        return
    rows, columns = rows.moved(-top), columns.moved(-left)
    best = sample(block[able[0]], rows, columns)
    score, better = np.empty_like(best), np.empty(best.shape, np.uint8)
    for number in able[1:]:
        sample(block[number], rows, columns, out=score)
        cv2.compare(score, best, cv2.CMP_GT, better)
        # a later class has the greater number, so where it is better the greater number is right
        np.maximum(tile, np.bitwise_and(better, np.uint8(number), out=better), out=tile)
        np.maximum(best, score, out=best)


def _can_win(block: FloatArray, *, fine: bool) -> list[int]:
    """Classes that may be the best at some point between the cells of a block, ascending.

    A point's score of a class lies between the least and the most of the four cells around it. So a class whose most
    stays below another class's least, in every square of four cells, wins nowhere.
    block: (C, h, w). fine: look at every such square, which rules out more, else only at the block as a whole.
    """
    able = np.flatnonzero(block.max(axis=(1, 2)) >= block.min(axis=(1, 2)).max())
    if len(able) <= 1 or not fine:
        return able.tolist() or [0]
    most = least = block[able]
    if block.shape[1] > 1:
        most, least = np.maximum(most[:, 1:], most[:, :-1]), np.minimum(least[:, 1:], least[:, :-1])
    if block.shape[2] > 1:
        most, least = np.maximum(most[..., 1:], most[..., :-1]), np.minimum(least[..., 1:], least[..., :-1])
    able = able[(most >= least.max(axis=0)).any(axis=(1, 2))]
    return able.tolist() or [0]  # no score is a number: any class is as right as another
