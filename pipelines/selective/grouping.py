"""Join the two neighbouring regions most alike, until one is left (Uijlings et al. 2013, section 3)."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from pipelines.selective.features import Regions
from pipelines.types import FloatArray

# which of colour, texture, size and fill count: equation (6) of the paper with its a_i
SIMILARITIES = "ctsf"


def group(regions: Regions, similarity: str) -> NDArray[np.int64]:
    """Build the hierarchy over regions.

    similarity: letters of `SIMILARITIES`. Returns (2 R − 1, 4) int64 boxes, x1 y1 x2 y2: those of the regions given,
    then one a step, the last of them around everything. Raises ValueError for a similarity of other letters, or none.
    """
    if not similarity or not set(similarity) <= set(SIMILARITIES):
        raise ValueError(f"a similarity is made of letters of {SIMILARITIES!r}, this one is {similarity!r}")
    tree = _Hierarchy(regions, similarity)
    left, right = regions.pairs[:, 0], regions.pairs[:, 1]
    neighbours: list[set[int]] = [set() for _ in range(len(regions.size))]
    for a, b in regions.pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    # ties go to the regions that came first, so the same picture always gives the same hierarchy
    queue = list(zip((-tree.alike(left, right)).tolist(), left.tolist(), right.tolist(), strict=True))
    heapify(queue)
    gone = [False] * tree.capacity
    while tree.count < tree.capacity and queue:
        _, a, b = heappop(queue)
        if gone[a] or gone[b]:
            continue
        made = tree.join(a, b)
        gone[a] = gone[b] = True
        around = sorted((neighbours[a] | neighbours[b]) - {a, b})
        neighbours[a] = neighbours[b] = set()
        neighbours.append(set(around))
        for other in around:
            neighbours[other] -= {a, b}
            neighbours[other].add(made)
        if around:
            others = np.array(around)
            for value, other in zip(tree.alike(others, made).tolist(), around, strict=True):
                heappush(queue, (-value, other, made))
    return tree.box[: tree.count]


class _Hierarchy:
    """Regions and what they were joined to; rows beyond `count` are still empty."""

    def __init__(self, regions: Regions, similarity: str) -> None:
        self.count = len(regions.size)
        self.capacity = 2 * self.count - 1
        self.whole = regions.size.sum()
        self.size = _room(regions.size, self.capacity)
        self.box = _room(regions.box, self.capacity)
        kinds = [regions.colour] * ("c" in similarity) + [regions.texture] * ("t" in similarity)
        joined = np.concatenate(kinds, axis=1) if kinds else np.zeros((self.count, 0), np.float32)
        # both histograms side by side: the intersection of both at once is the sum of the two similarities
        self.histogram: FloatArray = _room(joined, self.capacity)
        self.by_size, self.by_fill = "s" in similarity, "f" in similarity

    def alike(self, a: NDArray[np.int64], b: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """How alike regions are, pair by pair: the sum of the similarities that count, each in [0, 1]."""
        shared = np.minimum(self.histogram[a], self.histogram[b])
        found: NDArray[np.float64] = shared.sum(axis=1, dtype=np.float64)
        size = self.size[a] + self.size[b]
        if self.by_size:
            found += 1 - size / self.whole
        if self.by_fill:
            one, two = self.box[a], self.box[b]
            sides = np.maximum(one[:, 2:], two[..., 2:]) - np.minimum(one[:, :2], two[..., :2])
            found += 1 - (sides[:, 0] * sides[:, 1] - size) / self.whole
        return found

    def join(self, a: int, b: int) -> int:
        """Make one region of two and give its number."""
        made, (of_a, of_b) = self.count, (self.size[a], self.size[b])
        self.size[made] = of_a + of_b
        self.box[made, :2] = np.minimum(self.box[a, :2], self.box[b, :2])
        self.box[made, 2:] = np.maximum(self.box[a, 2:], self.box[b, 2:])
        share = np.float32(of_a / (of_a + of_b))
        self.histogram[made] = share * self.histogram[a] + (1 - share) * self.histogram[b]
        self.count += 1
        return made


def _room(rows: NDArray, capacity: int) -> NDArray:  # type: ignore[type-arg]
    wide = np.zeros((capacity, *rows.shape[1:]), rows.dtype)
    wide[: len(rows)] = rows
    return wide
