"""What several views of one picture found, put together: its tiles, and the picture as a whole.

Whoever saw a place best decides what is there:

- a small thing in the picture as a whole, shrunk as it was seen there, is left to the tile that holds it;
- a thing at a tile's border, cut or nearly so, is left to the neighbour that has more around it.

Then three things can remain where tiles meet:

- two views saw the same object whole: the better box stays (suppression across views);
- one tile's border cut an object that another view saw whole: the piece goes;
- an object is cut by the borders of all tiles it lies in: pieces that agree in the strip both tiles saw are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pipelines.geometry import box_area, iou
from pipelines.masks import PlacedMask
from pipelines.params import TiledParams
from pipelines.results import Detections, Instances
from pipelines.types import Boxes, ClassIds, FloatArray, Mask, Scores

Place: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture

_MARGIN = 0.015  # of a tile's side: a box that ends nearer to an inner border may go on behind it
_AGREE = 0.5  # IoU of two boxes' parts in the strip both tiles saw, from which they are one object
_COVERED = 0.7  # share of a piece inside a whole object, from which it is a piece of that
_SAME = 0.45  # IoU from which boxes of two views are one object; within a view the user's own `iou` has decided
_SMALL = 0.5  # of a tile's side: what is shorter in the picture as a whole is left to the tiles
_NEAR = 0.1  # of a tile's side: what ends nearer to an inner border is left to a neighbour that has more around it
_MOST = 4000  # boxes compared with one another
_TOGETHER = 256  # tiles that all boxes are held against at once


@dataclass(frozen=True, slots=True)
class View:
    """What was found in a tile, in the tile's own pixels; place None: in the picture as a whole."""

    place: Place | None
    found: Detections | Instances


@dataclass(frozen=True, slots=True)
class _Pieces:
    """All boxes of all views in pixels of the picture, best first.

    boxes: (N, 4) float32. views: (N,) number of the view. places: (N, 4) the view's rectangle. cut: (N, 4) whether the
    box ends at the left, top, right or bottom border of its tile inside the picture.
    """

    boxes: Boxes
    scores: Scores
    class_ids: ClassIds
    names: tuple[str, ...]
    masks: tuple[PlacedMask, ...]
    views: ClassIds
    places: Boxes
    cut: Mask

    def __getitem__(self, chosen: ClassIds) -> _Pieces:
        return _Pieces(
            self.boxes[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            tuple(self.names[i] for i in chosen),
            tuple(self.masks[i] for i in chosen) if self.masks else (),
            self.views[chosen],
            self.places[chosen],
            self.cut[chosen],
        )


def merge(views: Sequence[View], size: tuple[int, int], params: TiledParams) -> Detections | Instances:
    """Put together what several views found.

    size: (height, width) of the picture. params: those of `detect` or `instances`, for `max_detections`.
    Returns what the views hold, detections or instances, in pixels of the picture, highest score first.
    """
    pieces = _best_seen(_gathered(views, size), views, size)
    groups = _joined(pieces)
    boxes = np.array([_around(pieces.boxes[group]) for group in groups], np.float32).reshape(-1, 4)
    kept = _kept(pieces, groups, boxes)[: getattr(params, "max_detections", None)]
    best = [groups[number][0] for number in kept]  # pieces are ordered, so the first of a group is its best
    found = (boxes[kept], pieces.scores[best], pieces.class_ids[best], tuple(pieces.names[number] for number in best))
    if isinstance(views[0].found, Detections):
        return Detections(*found)
    masks = tuple(_united([pieces.masks[member] for member in groups[number]]) for number in kept)
    return Instances(*found, masks, size)


def _gathered(views: Sequence[View], size: tuple[int, int]) -> _Pieces:
    height, width = size
    boxes, cuts, places, numbers = [], [], [], []
    masks: list[PlacedMask] = []
    for number, view in enumerate(views):
        left, top, right, bottom = view.place or (0, 0, width, height)
        own = view.found.boxes
        margin = max(2.0, _MARGIN * max(right - left, bottom - top))
        ends = np.array([right - left, bottom - top], np.float32) - margin
        near = np.hstack([own[:, :2] <= margin, own[:, 2:] >= ends])
        inner = np.array([left > 0, top > 0, right < width, bottom < height])
        cuts.append(near & inner)
        boxes.append(own + np.array([left, top, left, top], np.float32))
        places.append(np.tile(np.array([left, top, right, bottom], np.float32), (len(own), 1)))
        numbers.append(np.full(len(own), number, np.int64))
        if isinstance(view.found, Instances):
            masks += [PlacedMask(mask.x + left, mask.y + top, mask.pixels) for mask in view.found.masks]
    scores = np.concatenate([view.found.scores for view in views])
    order = np.argsort(-scores, kind="stable")[:_MOST]
    names = [name for view in views for name in view.found.names]
    pieces = _Pieces(
        np.concatenate(boxes),
        scores,
        np.concatenate([view.found.class_ids for view in views]),
        tuple(names),
        tuple(masks),
        np.concatenate(numbers),
        np.concatenate(places),
        np.concatenate(cuts),
    )
    return pieces[order]


def _best_seen(pieces: _Pieces, views: Sequence[View], size: tuple[int, int]) -> _Pieces:
    """Leave out what a tile saw better than the view it was found in, whether that tile found it or not."""
    places = np.array([view.place for view in views if view.place is not None], np.float32).reshape(-1, 4)
    if len(places) == 0:
        return pieces
    side = float((places[:, 2:] - places[:, :2]).max())
    best = np.full(len(pieces.boxes), -np.inf, np.float32)
    for start in range(0, len(places), _TOGETHER):
        best = np.maximum(best, _clearance(pieces.boxes, places[start : start + _TOGETHER], size))
    own = np.full_like(best, -np.inf)
    for number, view in enumerate(views):
        if view.place is not None:
            here = np.flatnonzero(pieces.views == number)
            own[here] = _clearance(pieces.boxes[here], np.array([view.place], np.float32), size)
    tiled = pieces.views > 0
    sides = (pieces.boxes[:, 2:] - pieces.boxes[:, :2]).max(axis=1, initial=0)
    # the picture as a whole is for what is large, the strip at a tile's border for what reaches out of the neighbour
    better = np.where(tiled, (own < _NEAR * side) & (best > own), sides < _SMALL * side)
    return pieces[np.flatnonzero(~(better & (best >= _MARGIN * side)))]


def _clearance(boxes: Boxes, places: Boxes, size: tuple[int, int]) -> FloatArray:
    """How far a box lies inside that of the places that holds it best, in pixels; negative if it reaches out of each.

    The picture's own border counts as endlessly far. boxes: (N, 4). places: (M, 4). Returns (N,) float32.
    """
    height, width = size
    inner = np.concatenate([places[:, :2] > 0, places[:, 2:] < np.array([width, height])], axis=1)
    room = np.concatenate([boxes[:, None, :2] - places[:, :2], places[:, 2:] - boxes[:, None, 2:]], axis=2)
    clearance: FloatArray = np.where(inner, room, np.float32(np.inf)).min(axis=2).max(axis=1)
    return clearance


def _joined(pieces: _Pieces) -> list[list[int]]:
    """Groups of pieces that are one object, each ascending; what stands alone is a group of one."""
    parent = list(range(len(pieces.names)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    # only pieces of tiles: the picture as a whole is view 0, and nothing is cut off there
    for piece in np.flatnonzero(pieces.cut.any(axis=1)).tolist():
        strip = _shared(pieces.places[piece], pieces.places)
        here, there = _shared(pieces.boxes[piece], strip), _shared(pieces.boxes, strip)
        agree = _pairwise_iou(here, there) >= _AGREE
        same = (pieces.class_ids == pieces.class_ids[piece]) & (pieces.views != pieces.views[piece])
        for other in np.flatnonzero(agree & same & (pieces.views > 0)).tolist():
            if _goes_on(pieces, piece, other):
                first, second = sorted((root(piece), root(other)))
                parent[second] = first
    groups: dict[int, list[int]] = {}
    for number in range(len(parent)):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())


def _goes_on(pieces: _Pieces, piece: int, other: int) -> bool:
    """Whether a border that cuts `piece` runs through the tile of `other`, so that its rest can be there."""
    left, top, right, bottom = pieces.places[piece]
    other_left, other_top, other_right, other_bottom = pieces.places[other]
    cut = pieces.cut[piece]
    across = other_left < left < other_right, other_left < right < other_right
    down = other_top < top < other_bottom, other_top < bottom < other_bottom
    return bool((cut[0] and across[0]) or (cut[2] and across[1]) or (cut[1] and down[0]) or (cut[3] and down[1]))


def _kept(pieces: _Pieces, groups: Sequence[list[int]], boxes: Boxes) -> list[int]:
    """Numbers of the groups that stay, best first."""
    best = np.array([group[0] for group in groups], np.int64)
    ids, views, scores, areas = pieces.class_ids[best], pieces.views[best], pieces.scores[best], box_area(boxes)
    alone = np.array([len(group) == 1 for group in groups], np.bool_)
    # how whole: 0 a piece, 1 pieces joined, 2 never cut
    rank = np.where(alone, np.where(pieces.cut[best].any(axis=1), 0, 2), 1)
    kept: list[int] = []
    dropped = np.zeros(len(groups), np.bool_)
    for number in np.argsort(-scores, kind="stable").tolist():
        if dropped[number]:
            continue
        others = np.flatnonzero(~dropped)
        others = others[others != number]
        covered = box_area(_shared(boxes[number], boxes[others])) >= _COVERED * areas[number]
        wholer = covered & (rank[others] > rank[number]) & (areas[others] > areas[number])
        # a piece goes for a whole object it lies in: one of its class even if less certain, as half a thing is no
        # better thing; one of another class if that is surer, for a dog's back alone looks like other animals' too
        if bool((wholer & ((ids[others] == ids[number]) | (scores[others] > scores[number]))).any()):
            dropped[number] = True
            continue
        kept.append(number)
        rivals = others[ids[others] == ids[number]]
        same_view = alone[rivals] & alone[number] & (views[rivals] == views[number])
        alike = iou(boxes[number : number + 1], boxes[rivals])[0] > _SAME
        dropped[rivals[alike & ~same_view]] = True
    return kept


def _around(boxes: Boxes) -> FloatArray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _shared(box: Boxes, others: Boxes) -> Boxes:
    """The rectangles that a box, or as many boxes, have in common with others; of no area where there is none."""
    return np.concatenate(
        [np.maximum(box[..., :2], others[:, :2]), np.minimum(box[..., 2:], others[:, 2:])], axis=1, dtype=np.float32
    )


def _pairwise_iou(a: Boxes, b: Boxes) -> FloatArray:
    """IoU of a[i] with b[i]; 0 where both have no area."""
    shared = box_area(_shared(a, b))
    union = box_area(a) + box_area(b) - shared
    ratio: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def _united(masks: Sequence[PlacedMask]) -> PlacedMask:
    masks = [mask for mask in masks if mask.pixels.size]
    if len(masks) == 1:
        return masks[0]
    if not masks:
        return PlacedMask(0, 0, np.zeros((0, 0), np.bool_))
    left, top = min(mask.x for mask in masks), min(mask.y for mask in masks)
    right = max(mask.x + mask.pixels.shape[1] for mask in masks)
    bottom = max(mask.y + mask.pixels.shape[0] for mask in masks)
    pixels = np.zeros((bottom - top, right - left), np.bool_)
    for mask in masks:
        height, width = mask.pixels.shape
        pixels[mask.y - top : mask.y - top + height, mask.x - left : mask.x - left + width] |= mask.pixels
    return PlacedMask(left, top, pixels)
