"""A large picture in overlapping tiles, so that what is small in it is seen at a size the network was trained for.

Boxes and masks are found in the picture as a whole too, for what is larger than a tile; `seams` puts them together. Of
a class map each tile gives the pixels nearest to its own middle, where it saw most of their surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipelines.budget import check_masks
from pipelines.geometry import Fit, plan_fit
from pipelines.params import TiledParams
from pipelines.results import Detections, Found, Instances, SemanticMask
from pipelines.seams import View, merge
from pipelines.types import Tensor

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline, Prepared


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the picture in pixels, right and bottom exclusive.

    own: the part of it, likewise in pixels of the picture, whose pixels it decides in a class map; the parts of all
        tiles cover the picture, each pixel once.
    """

    left: int
    top: int
    right: int
    bottom: int
    own: tuple[int, int, int, int]


def plan_tiles(size: tuple[int, int], side: int, overlap: float) -> list[Tile]:
    """Cover a picture with tiles, row by row.

    size: (height, width). side: of a tile in pixels; a picture that is shorter in one direction has one tile there.
    overlap: the least share of a tile that its neighbour covers too, 0 to 0.5.
    """
    rows, columns = (_along(length, side, overlap) for length in size)
    return [
        Tile(left, top, right, bottom, (own_left, own_top, own_right, own_bottom))
        for top, bottom, own_top, own_bottom in rows
        for left, right, own_left, own_right in columns
    ]


def _along(length: int, side: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Tiles along one axis: where each begins and ends, and where its own part does."""
    if length <= side:
        return [(0, length, 0, length)]
    shared = min(side - 1, int(np.ceil(side * overlap)))
    count = -(-(length - side) // (side - shared)) + 1
    # the last one ends where the picture does, so all of them move a little closer together
    starts = [(length - side) * number // (count - 1) for number in range(count)]
    borders = [0, *((before + side + after) // 2 for before, after in pairwise(starts)), length]
    own = pairwise(borders)
    return [(start, start + side, *part) for start, part in zip(starts, own, strict=True)]


def is_tiled(pipeline: Pipeline, size: tuple[int, int]) -> bool:
    """Whether a picture of this (height, width) is larger than the tiles it should run in."""
    params = pipeline.params
    return isinstance(params, TiledParams) and 0 < params.tile < max(size)


def whole_view(size: tuple[int, int], pipeline: Pipeline) -> Fit:
    """Decide where a picture as a whole lies in the network's input.

    size: (height, width). A network that takes pictures at their own size would see no more in the whole of one than in
    its tiles, for all the memory that takes: it gets a picture of many tiles no larger than one of them.
    """
    spec, params = pipeline.card.input, pipeline.params
    if spec.resize.rule != "keep" or not isinstance(params, TiledParams) or not is_tiled(pipeline, size):
        return plan_fit(size, spec)
    ratio = params.tile / max(size)
    small = max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
    return replace(plan_fit(small, spec), scale=(small[1] / size[1], small[0] / size[0]), size=size)


def run_tiled(pipeline: Pipeline, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Found:
    """Find what is in a picture, tile by tile.

    run: the network, or what gives its outputs for the picture as a whole.
    Adds to the milliseconds of the stages in `prepared`. Raises whatever the network raises.
    """
    params = pipeline.params
    if not isinstance(params, TiledParams):
        raise TypeError(f"{params.pipeline} does not run in tiles")
    tiles = plan_tiles(prepared.picture.size, params.tile, params.tile_overlap)
    if params.pipeline == "segment":
        return _class_map(pipeline, prepared, tiles)
    views = [View(None, _boxes(pipeline.read_timed(prepared, run)))]
    count = held = 0  # masks, which all stay until the last tile is done, and their bytes
    for tile in tiles:
        place = tile.left, tile.top, tile.right, tile.bottom
        found = _boxes(pipeline.read_part(prepared, place))
        views.append(View(place, found))
        if isinstance(found, Instances):
            count += len(found.masks)
            held += sum(mask.pixels.nbytes for mask in found.masks)
            check_masks(count, held, pipeline.limits)
    return merge(views, prepared.picture.size, params)


def _boxes(found: Found) -> Detections | Instances:
    if not isinstance(found, Detections | Instances):
        raise TypeError(f"boxes were expected, not {type(found).__name__}")
    return found


def _class_map(pipeline: Pipeline, prepared: Prepared, tiles: Sequence[Tile]) -> SemanticMask:
    whole = np.zeros(prepared.picture.size, np.uint8)
    names: tuple[str, ...] = ()
    for tile in tiles:
        found = pipeline.read_part(prepared, (tile.left, tile.top, tile.right, tile.bottom))
        if not isinstance(found, SemanticMask):
            raise TypeError(f"a class map was expected, not {type(found).__name__}")
        left, top, right, bottom = tile.own
        rows, columns = slice(top - tile.top, bottom - tile.top), slice(left - tile.left, right - tile.left)
        whole[top:bottom, left:right] = found.class_map[rows, columns]
        names = found.names
    return SemanticMask(whole, names)
