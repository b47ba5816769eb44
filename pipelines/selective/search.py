"""Several hierarchies of one picture as one ranked list of boxes (Uijlings et al. 2013, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.selective.features import describe
from pipelines.selective.graph import segment
from pipelines.selective.grouping import group
from pipelines.types import Boxes, Image

Colours = Literal["hsv", "lab", "rgb", "rgi", "intensity"]
LEAST_SIDE = 8  # pixels a side; below that a picture has no regions worth the name


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way of seeing a picture: a colour space, the k of its segmentation, and what makes regions alike.

    similarity: letters of "ctsf": colour, texture, size, fill. least: pixels of the smallest region; None: k, as
    published.
    """

    colours: Colours
    k: float
    similarity: str = "ctsf"
    least: int | None = None

    @property
    def cut(self) -> tuple[Colours, float, int]:
        """What its segmentation depends on."""
        return self.colours, self.k, round(self.k) if self.least is None else self.least


SINGLE: tuple[Strategy, ...] = (Strategy("hsv", 100),)
FAST: tuple[Strategy, ...] = tuple(
    Strategy(colours, k, similarity) for colours in ("hsv", "lab") for k in (50, 100) for similarity in ("ctsf", "tsf")
)
QUALITY: tuple[Strategy, ...] = tuple(
    Strategy(colours, k, similarity)
    for colours in ("hsv", "lab", "rgi", "intensity", "rgb")
    for k in (50, 100, 150, 300)
    for similarity in ("ctsf", "tsf", "f", "s")
)
# our own, for objects of few pixels: the published ones join a region of less than k pixels to its neighbour
FINE: tuple[Strategy, ...] = tuple(
    Strategy(colours, 100, similarity, least=20) for colours in ("hsv", "lab", "rgi") for similarity in ("ctsf", "tsf")
)
STRATEGIES: dict[str, tuple[Strategy, ...]] = {"single": SINGLE, "fast": FAST, "fine": FINE, "quality": QUALITY}


def selective_search(
    image: Image, strategies: str | Sequence[Strategy] = "fine", limit: int = 2000, *, seed: int = 0
) -> Boxes:
    """Propose where objects may be.

    image: (H, W, 3) uint8 RGB, at least 8 pixels a side. strategies: "single", "fast" or "quality" (Uijlings et al.,
    table 5), "fine" (ours, for small objects), or one's own. limit: most boxes. seed: of the shuffle that keeps one
    strategy from outranking another.
    Returns (N, 4) float32, x1 y1 x2 y2 in pixels, each box once, best first: those high in their hierarchies before
    those low in them (their section 3.3). The same picture, strategies and seed give the same boxes.
    Raises ValueError for a picture of another shape or too small, an unknown name, no strategy, or a limit below 1.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"selective search takes (H, W, 3) uint8 RGB, this is {image.shape} {image.dtype}")
    if min(image.shape[:2]) < LEAST_SIDE:
        height, width = image.shape[:2]
        raise ValueError(f"the picture is {width}×{height} pixels, selective search needs {LEAST_SIDE} each way")
    if isinstance(strategies, str):
        if strategies not in STRATEGIES:
            raise ValueError(f"there is no strategy {strategies!r}: choose one of {', '.join(STRATEGIES)}")
        strategies = STRATEGIES[strategies]
    if not strategies or limit < 1:
        raise ValueError(f"selective search needs a strategy and a limit of 1 or more, not {strategies} and {limit}")

    chance = np.random.default_rng(seed)
    found, places = [], []
    for colours in dict.fromkeys(s.colours for s in strategies):
        seen = in_colours(image, colours)
        for cut in dict.fromkeys(s.cut for s in strategies if s.colours == colours):
            _, k, least = cut
            regions = describe(seen, segment(seen, k, least))
            for strategy in strategies:
                if strategy.cut == cut:
                    boxes = group(regions, strategy.similarity)
                    # 1 is the whole picture, the last step of the hierarchy
                    height_in_tree = np.arange(len(boxes), 0, -1)
                    found.append(boxes)
                    places.append(height_in_tree * chance.random(len(boxes)))
    return _ranked(np.concatenate(found), np.concatenate(places), limit)


def in_colours(image: Image, colours: Colours) -> NDArray[np.uint8]:
    """A picture in another colour space. image: (H, W, 3) uint8 RGB. Returns (H, W, C) uint8, each channel 0–255."""
    if colours == "hsv":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), np.uint8)
    if colours == "lab":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.uint8)
    if colours == "intensity":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., None]
    if colours == "rgi":  # the r and g of normalised RGB, and intensity
        wide = image.astype(np.float32)
        total = np.maximum(wide.sum(axis=2), 1)
        shares = [wide[..., 0] * 255 / total, wide[..., 1] * 255 / total, total / 3]
        return np.stack(shares, axis=2).astype(np.uint8)
    return image


def _ranked(boxes: NDArray[np.int64], places: NDArray[np.float64], limit: int) -> Boxes:
    """Sort boxes by place and keep each only where it comes first."""
    ordered = boxes[np.argsort(places, kind="stable")]
    _, first = np.unique(ordered, axis=0, return_index=True)
    best: Boxes = ordered[np.sort(first)[:limit]].astype(np.float32)
    return best
