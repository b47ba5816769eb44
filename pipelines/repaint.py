"""Stylize a picture of any size: above a limit in tiles that share one normalisation, so that no seam shows.

A style network normalises its maps by their mean and variance over the whole picture. In a tile of sky alone these
differ from those of the picture, and every tile would come out in a tone of its own. So the normalisation is measured
once, on patches from all over the picture at its full size laid side by side, and applied to every tile
(`pipelines.normalisation`). A tile then gives for each pixel what the whole picture would, as long as the network sees
all around that pixel what it would see there: that is what the margin of a tile is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from pipelines import budget
from pipelines.errors import ImageError
from pipelines.geometry import Fit, plan_fit
from pipelines.image import Limits
from pipelines.normalisation import KEEP, OUTPUT, keeping, measuring
from pipelines.params import Params, StylizeParams
from pipelines.pipeline import Pipeline, Prepared, Stopwatch
from pipelines.results import Found, RenderedPicture
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Image, Tensor

# Pixels around a tile that the network sees and that are thrown away: above the 58 that five residual blocks at a
# quarter of the size, two halvings and the 9×9 convolutions at both ends reach; a multiple of every stride.
MARGIN = 64
_PATCH = 256  # pixels a side of what the normalisation is measured on


@dataclass(frozen=True, slots=True)
class Piece:
    """Along one axis: the pixels first … last − 1 are painted, and the network sees those of start … stop − 1."""

    start: int
    stop: int
    first: int
    last: int


class Stylizer(Pipeline):
    """The `stylize` pipeline; `pipelines.load` builds it for every model of that task."""

    params: StylizeParams

    def __init__(self, session: Session, params: StylizeParams, limits: Limits | None = None) -> None:
        super().__init__(session, params, limits)
        # a network whose normalisation can't be kept would show where its tiles meet
        can = KEEP in session.optional and self.card.input.resize.rule == "keep"
        self._tile = params.tile if can else 0
        self._advised: Params = params if can else Params()  # no advice to take tiles where there are none

    def read_timed(self, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Found:
        """Paint a prepared picture, in tiles if it is larger than one; adds the milliseconds to those in `prepared`."""
        if not self._is_tiled(prepared.picture.size):
            return super().read_timed(prepared, run)
        watch, timings = Stopwatch(), prepared.timings_ms
        normalisation = self.session.run_given(prepared.tensor, measuring(), (OUTPUT,))[0][:1]
        timings["session"] = timings.get("session", 0.0) + watch.lap()
        given = keeping(normalisation)
        outputs = self.session.outputs
        pixels, painted = prepared.picture.pixels, np.empty_like(prepared.picture.pixels)
        facts: Mapping[str, Any] = {}
        rows, columns = (pieces(length, self._tile, self._stride) for length in prepared.picture.size)
        for row in rows:
            for column in columns:
                part = np.ascontiguousarray(pixels[row.start : row.stop, column.start : column.stop])
                with self._workspace() as workspace:
                    plan, tensor = self._whole(part, plan_fit(part.shape[:2], self.card.input), workspace)
                    timings["preprocess"] += watch.lap()
                    found = self._read(
                        self._per_picture(self._kept(tensor, given, outputs, timings, watch)), plan, part
                    )
                if not isinstance(found, RenderedPicture):
                    raise TypeError(f"a picture was expected, not {type(found).__name__}")
                inside = found.pixels[row.first - row.start :, column.first - column.start :]
                painted[row.first : row.last, column.first : column.last] = inside[
                    : row.last - row.first, : column.last - column.first
                ]
                facts = found.facts
                timings["postprocess"] = timings.get("postprocess", 0.0) + watch.lap()
        return RenderedPicture(painted, facts)

    @property
    def _stride(self) -> int:
        return self.card.input.resize.stride

    def _is_tiled(self, size: tuple[int, int]) -> bool:
        return 0 < self._tile < max(size)

    def _kept(
        self,
        tensor: Tensor,
        given: dict[str, Tensor],
        outputs: tuple[str, ...],
        timings: dict[str, float],
        watch: Stopwatch,
    ) -> Sequence[Tensor]:
        found = self.session.run_given(tensor, given, outputs)
        timings["session"] += watch.lap()
        return found

    def _fitted(self, pixels: Image, plan: Fit, workspace: Workspace) -> tuple[Fit, Tensor]:
        if not self._is_tiled(plan.size):
            return self._whole(pixels, plan, workspace)
        largest = min(plan.size[0], self._tile), min(plan.size[1], self._tile)
        try:
            budget.check_input(self.card, plan_fit(largest, self.card.input), self.params, self.limits)
        except ImageError as error:
            raise ImageError(error.code, f"in tiles of {self._tile}: {error}") from error
        seen = patches(pixels, self._tile)
        around, tensor = self._whole(seen, plan_fit(seen.shape[:2], self.card.input), workspace)
        return replace(around, size=plan.size), tensor

    def _whole(self, pixels: Image, plan: Fit, workspace: Workspace) -> tuple[Fit, Tensor]:
        """A picture as the network's input, mirrored at the right and below up to a multiple of the stride."""
        if self.card.input.resize.rule != "keep":
            return super()._fitted(pixels, plan, workspace)
        budget.check_input(self.card, plan, self._advised, self.limits)
        canvas = workspace.array("canvas", (*plan.padded, 3), np.uint8)
        below, right = (padded - own for padded, own in zip(plan.padded, plan.size, strict=True))
        cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REFLECT_101, dst=canvas)
        return plan, to_tensor(canvas, self.card.input, workspace)


def pieces(length: int, tile: int, stride: int) -> list[Piece]:
    """Cut an axis into pieces that the network sees no more than `tile` pixels of, at multiples of `stride`.

    length, tile: pixels; a picture no longer than a tile is one piece. Every pixel is painted by one piece, which sees
    MARGIN pixels on either side of its own, or to the picture's edge.
    """
    if length <= tile:
        return [Piece(0, length, 0, length)]
    count = -(-length // (tile - 2 * MARGIN - stride))
    borders = [*(length * number // count // stride * stride for number in range(count)), length]
    return [Piece(max(0, first - MARGIN), min(length, last + MARGIN), first, last) for first, last in pairwise(borders)]


def patches(pixels: Image, side: int) -> Image:
    """Patches from all over a picture, evenly spread and at its full size, laid side by side.

    pixels: (H, W, 3) uint8. side: the most that the result has a side, pixels; an axis no longer than that stays whole.
    Returns (h, w, 3) uint8.
    """
    rows, columns = (_spread(length, side) for length in pixels.shape[:2])
    return np.concatenate(
        [np.concatenate([pixels[top:bottom, left:right] for left, right in columns], 1) for top, bottom in rows]
    )


def _spread(length: int, side: int) -> list[tuple[int, int]]:
    if length <= side:
        return [(0, length)]
    patch = min(_PATCH, side)
    count = side // patch
    starts = [(length - patch) * number // max(1, count - 1) for number in range(count)]
    return [(start, start + patch) for start in starts]
