"""Cut a picture into regions of like colour, with its pixels as a graph.

Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation", IJCV 59, 2004: two components become one if
the lightest edge between them weighs no more than either's heaviest inner edge plus k / size. They take the edges one
by one, by weight. Here the edges come in levels of weight, the lightest level first, and within a level all components
take their lightest edge that may join at once, round after round (Borůvka's order, as Haxhimusa and Kropatsch,
"Segmentation graph hierarchies", SSPR 2004), so that a round is a few array operations. The levels matter: without them
a single odd pixel joins early, by a heavy edge, and its component then takes in everything up to that weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.types import FloatArray

_STEPS = 64  # edge weights are told apart to 1/64: sixteen bits sort several times as fast as a float
# where a level ends; finer where most edges of a photograph lie
_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 19, 24, 30, 38, 48, 60, 80, 110, 500])
SIGMA = 0.8  # of the Gaussian before, as in the paper (section 4): against the noise of a camera

_Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Edges:
    """The edges between components, lightest first. start, end: (E,) int32 components. weight: (E,) float32."""

    start: _Indices
    end: _Indices
    weight: FloatArray

    def chosen(self, which: NDArray[np.intp] | slice) -> _Edges:
        return _Edges(self.start[which], self.end[which], self.weight[which])


@dataclass(frozen=True, slots=True)
class _Components:
    """labels: (pixels,) int32, the component of each pixel. size: (M,) float32 pixels. inner: (M,) float32, the
    weight of the heaviest edge that was joined."""

    labels: _Indices
    size: FloatArray
    inner: FloatArray


def segment(picture: NDArray[np.uint8], k: float, least: int) -> NDArray[np.int32]:
    """Cut a picture into connected regions.

    picture: (H, W, C) uint8 in any colour space. k: how much larger regions are preferred, in units of a channel's
    value. least: pixels; a smaller region joins the neighbour most like it.
    Returns (H, W) int32, numbers 0 … R − 1 without gaps. Raises ValueError for k below 0.
    """
    if k < 0:
        raise ValueError(f"k must be 0 or more, it is {k}")
    height, width = picture.shape[:2]
    edges = _grid_edges(picture)
    parts = _Components(
        np.arange(height * width, dtype=np.int32),
        np.ones(height * width, np.float32),
        np.zeros(height * width, np.float32),
    )

    def alike(edges: _Edges, parts: _Components) -> NDArray[np.bool_]:
        reach = parts.inner + np.float32(k) / parts.size
        agreed: NDArray[np.bool_] = edges.weight <= np.minimum(reach[edges.start], reach[edges.end])
        return agreed

    def too_small(edges: _Edges, parts: _Components) -> NDArray[np.bool_]:
        small = parts.size < least
        joined: NDArray[np.bool_] = small[edges.start] | small[edges.end]
        return joined

    # an edge that was refused stays so: whichever component refused it takes no heavier one either
    ends = np.searchsorted(edges.weight, _LEVELS, side="right")
    for begin, end in pairwise((0, *ends.tolist())):
        parts = _join(_of_components(edges.chosen(slice(begin, end)), parts), parts, alike)
    parts = _join(_of_components(edges, parts), parts, too_small, below=least)
    return parts.labels.reshape(height, width)


def _grid_edges(picture: NDArray[np.uint8]) -> _Edges:
    """Edges between each pixel and its eight neighbours, weighed by their distance in colour."""
    height, width = picture.shape[:2]
    smooth = cv2.GaussianBlur(picture, (0, 0), SIGMA).reshape(height, width, -1).astype(np.float32)
    planes = [np.ascontiguousarray(smooth[..., channel]) for channel in range(smooth.shape[2])]
    number = np.arange(height * width, dtype=np.int32).reshape(height, width)
    everything, but_first, but_last = slice(None), slice(1, None), slice(None, -1)
    pairs = (
        ((everything, but_last), (everything, but_first)),
        ((but_last, everything), (but_first, everything)),
        ((but_last, but_last), (but_first, but_first)),
        ((but_last, but_first), (but_first, but_last)),
    )
    starts, ends, weights = [], [], []
    for here, there in pairs:
        squares = sum((plane[here] - plane[there]) ** 2 for plane in planes)
        weights.append(np.sqrt(np.asarray(squares, np.float32)).ravel())
        starts.append(number[here].ravel())
        ends.append(number[there].ravel())
    weight = np.concatenate(weights)
    steps = np.minimum(weight * _STEPS, 65535).astype(np.uint16)
    order = np.argsort(steps, kind="stable")
    return _Edges(np.concatenate(starts)[order], np.concatenate(ends)[order], steps[order].astype(np.float32) / _STEPS)


def _join(
    edges: _Edges,
    parts: _Components,
    may: Callable[[_Edges, _Components], NDArray[np.bool_]],
    below: float = np.inf,
) -> _Components:
    """Join components along their lightest edges that may be joined, until none may.

    below: pixels; only smaller components choose, so that two larger ones never meet by way of a small one.
    """
    while edges.weight.size:
        allowed = np.flatnonzero(may(edges, parts))
        if not allowed.size:
            break
        movers, taken, target = _choices(edges.chosen(allowed), parts.size < below)
        roots = np.flatnonzero(target == np.arange(len(target)))
        number = np.empty(len(target), np.int32)
        number[roots] = np.arange(len(roots), dtype=np.int32)
        group = number[target]

        inner = parts.inner[roots]
        np.maximum.at(inner, group, parts.inner)
        np.maximum.at(inner, group[movers], edges.weight[allowed[taken]])
        size = np.bincount(group, weights=parts.size, minlength=len(roots)).astype(np.float32)
        parts = _Components(group[parts.labels], size, inner)
        edges = _between(_Edges(group[edges.start], group[edges.end], edges.weight), len(roots))
    return parts


def _choices(edges: _Edges, choosing: NDArray[np.bool_]) -> tuple[NDArray[np.intp], _Indices, _Indices]:
    """Let each component take its lightest edge.

    choosing: (M,) whether a component takes one; an edge may join it to one that does not.
    Returns the components that have one, the edge each takes, and for every component the one it becomes part of.
    """
    total, count = edges.weight.size, len(choosing)
    backwards = np.arange(total - 1, -1, -1, dtype=np.int32)
    # of repeated indices the last value stays: from behind, that is the lightest edge of each component
    by_end, by_start = np.full(count, total, np.int32), np.full(count, total, np.int32)
    by_end[edges.end[::-1]] = backwards
    by_start[edges.start[::-1]] = backwards
    first = np.minimum(by_end, by_start)
    movers = np.flatnonzero((first < total) & choosing)
    taken = first[movers]
    target = np.arange(count, dtype=np.int32)
    target[movers] = edges.start[taken] + edges.end[taken] - movers
    # the edges are in a strict order, so the only circles are two components that chose each other
    mutual = movers[(target[target[movers]] == movers) & (movers < target[movers])]
    target[mutual] = mutual
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return movers, taken, target
        target = further


def _of_components(edges: _Edges, parts: _Components) -> _Edges:
    """Edges between pixels as edges between the components these belong to."""
    between = _Edges(parts.labels[edges.start], parts.labels[edges.end], edges.weight)
    return _between(between, len(parts.size))


def _between(edges: _Edges, count: int) -> _Edges:
    """Drop the edges inside a component, and of many between the same two all but the lightest."""
    edges = edges.chosen(np.flatnonzero(edges.start != edges.end))
    if edges.weight.size > 8 * count:
        low, high = np.minimum(edges.start, edges.end), np.maximum(edges.start, edges.end)
        _, lightest = np.unique(low.astype(np.int64) * count + high, return_index=True)
        edges = edges.chosen(np.sort(lightest))
    return edges
