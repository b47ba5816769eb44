"""Object proposals: what must hold for any picture, and how many true boxes they meet on real photographs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.geometry import iou
from pipelines.selective import FAST, SINGLE, STRATEGIES, Strategy, selective_search
from pipelines.selective.features import describe
from pipelines.selective.graph import segment
from pipelines.selective.grouping import group
from pipelines.selective.search import in_colours

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_photographs = pytest.mark.skipif(
    not (DATA / "coco128").is_dir(), reason=f"needs coco128 in PIXELMILL_DATA ({DATA})"
)
EVERY_BOX = 1_000_000


def patches(height: int, width: int, cell: int, seed: int) -> np.ndarray:
    """A picture of coloured patches with a little noise."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (-(-height // cell), -(-width // cell), 3), np.uint8)
    picture = np.kron(coarse, np.ones((cell, cell, 1), np.uint8))[:height, :width]
    noise = chance.integers(-6, 7, picture.shape)
    return np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8)


pictures = st.builds(patches, st.integers(8, 64), st.integers(8, 64), st.integers(3, 24), st.integers(0, 2**32 - 1))


@settings(max_examples=20, deadline=None)
@given(picture=pictures, k=st.sampled_from([1.0, 20.0, 100.0, 5000.0]), least=st.integers(1, 80))
def test_every_region_is_connected_and_none_is_smaller_than_asked_for(
    picture: np.ndarray, k: float, least: int
) -> None:
    labels = segment(picture, k, least)

    sizes = np.bincount(labels.ravel())
    assert labels.shape == picture.shape[:2]
    assert sizes.min() >= min(least, labels.size)
    for number in range(len(sizes)):
        pieces, _ = cv2.connectedComponents((labels == number).astype(np.uint8), connectivity=8)
        assert pieces - 1 == 1


@settings(max_examples=20, deadline=None)
@given(
    picture=pictures,
    colours=st.sampled_from(["hsv", "lab", "rgb", "rgi", "intensity"]),
    kind=st.sampled_from(["ctsf", "tsf", "c", "f"]),
)
def test_grouping_reaches_one_region_that_is_the_picture(picture: np.ndarray, colours: str, kind: str) -> None:
    seen = in_colours(picture, colours)  # type: ignore[arg-type]
    regions = describe(seen, segment(seen, 20, 10))

    boxes = group(regions, kind)

    height, width = picture.shape[:2]
    assert len(boxes) == 2 * len(regions.size) - 1
    assert boxes[-1].tolist() == [0, 0, width, height]
    assert regions.size.sum() == height * width
    np.testing.assert_allclose(regions.colour.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(regions.texture.sum(axis=1), 1, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(picture=pictures)
def test_every_region_is_proposed_so_that_proposals_cover_the_picture(picture: np.ndarray) -> None:
    boxes = selective_search(picture, "single", EVERY_BOX)

    height, width = picture.shape[:2]
    seen = in_colours(picture, "hsv")
    regions = describe(seen, segment(seen, 100, 100))
    proposed = {tuple(box) for box in boxes.astype(int).tolist()}
    assert {tuple(box) for box in regions.box.tolist()} <= proposed
    assert (0, 0, width, height) in proposed
    assert len(proposed) == len(boxes)
    assert boxes.dtype == np.float32
    assert boxes.min() >= 0
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes[:, 2:] <= (width, height)).all()


@settings(max_examples=6, deadline=None)
@given(picture=pictures, limit=st.integers(1, 40))
def test_the_same_picture_gives_the_same_boxes_and_fewer_are_the_first_of_more(picture: np.ndarray, limit: int) -> None:
    everything = selective_search(picture, "fast", EVERY_BOX)

    np.testing.assert_array_equal(selective_search(picture.copy(), FAST, EVERY_BOX), everything)
    np.testing.assert_array_equal(selective_search(picture, "fast", limit), everything[:limit])


def test_a_picture_of_one_colour_is_one_region() -> None:
    boxes = selective_search(np.full((40, 60, 3), 90, np.uint8))

    assert boxes.tolist() == [[0, 0, 60, 40]]


def test_three_discs_are_each_proposed_almost_exactly() -> None:
    picture = np.full((200, 300, 3), 240, np.uint8)
    truth = []
    for x, y, radius, colour in (
        (60, 60, 30, (200, 30, 30)),
        (150, 120, 45, (30, 30, 200)),
        (250, 70, 20, (20, 140, 20)),
    ):
        cv2.circle(picture, (x, y), radius, colour, -1)
        truth.append((x - radius, y - radius, x + radius + 1, y + radius + 1))

    overlap = iou(np.array(truth, np.float32), selective_search(picture, "single"))

    assert overlap.max(axis=1).min() > 0.9


def test_two_halves_are_cut_where_the_published_rule_cuts_them() -> None:
    # equation (3) of Felzenszwalb and Huttenlocher: halves of 390 even pixels join across columns that differ by a few
    # levels only if k / 390 reaches that; the blurred columns between them are under 200 pixels together
    picture = np.full((30, 30, 3), 100, np.uint8)
    picture[:, 15:] = 140

    apart = segment(picture, 100, 200)
    one = segment(picture, 1_000_000, 200)

    assert [np.unique(apart[:, :15]).tolist(), np.unique(apart[:, 15:]).tolist()] in ([[0], [1]], [[1], [0]])
    assert one.max() == 0


def test_colour_histograms_are_those_of_opencv() -> None:
    picture = patches(40, 50, 9, 3)
    labels = segment(picture, 50, 20)

    regions = describe(picture, labels)

    for number in range(labels.max() + 1):
        mask = (labels == number).astype(np.uint8)
        # OpenCV spreads 256 values over 25 bins as we do: bin = value × 25 / 256, rounded down
        theirs = np.concatenate([cv2.calcHist([picture], [c], mask, [25], [0, 256]).ravel() for c in range(3)])
        np.testing.assert_allclose(regions.colour[number], theirs / theirs.sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "strategies", "limit", "complaint"),
    [
        (np.zeros((7, 100, 3), np.uint8), "fast", 10, "100×7 pixels, selective search needs 8"),
        (np.zeros((20, 20), np.uint8), "fast", 10, r"takes \(H, W, 3\) uint8"),
        (np.zeros((20, 20, 3), np.float32), "fast", 10, "float32"),
        (np.zeros((20, 20, 3), np.uint8), "slow", 10, "no strategy 'slow': choose one of single, fast, fine, quality"),
        (np.zeros((20, 20, 3), np.uint8), (), 10, "needs a strategy"),
        (np.zeros((20, 20, 3), np.uint8), "fast", 0, "a limit of 1"),
        (np.zeros((20, 20, 3), np.uint8), (Strategy("hsv", 50, "x"),), 10, "letters of 'ctsf'"),
        (np.zeros((20, 20, 3), np.uint8), (Strategy("hsv", -1),), 10, "k must be 0 or more"),
    ],
)
def test_what_can_not_be_searched_is_refused_in_one_sentence(
    image: np.ndarray, strategies: object, limit: int, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        selective_search(image, strategies, limit)  # type: ignore[arg-type]


def test_the_named_strategies_are_those_of_the_paper() -> None:
    # Uijlings et al., table 5: 1, 8 and 80 hierarchies
    assert [len(STRATEGIES[name]) for name in ("single", "fast", "quality")] == [1, 8, 80]
    assert SINGLE[0] in FAST


def test_an_object_of_fewer_pixels_than_k_is_proposed_with_a_smaller_least_region() -> None:
    picture = np.full((120, 160, 3), 230, np.uint8)
    cv2.rectangle(picture, (40, 50), (47, 57), (20, 20, 160), -1)  # 8×8 pixels, k is 100
    truth = np.array([[40, 50, 48, 58]], np.float32)

    fine, single = selective_search(picture, "fine"), selective_search(picture, "single")

    assert iou(truth, fine).max() >= 0.5
    assert iou(truth, single).max() < 0.5


@needs_photographs
def test_nearly_every_large_object_of_real_photographs_is_met() -> None:
    met = []
    for stem in ("000000000034", "000000000074", "000000000081", "000000000154"):
        picture = cv2.imread(str(DATA / "coco128" / "images" / f"{stem}.jpg"), cv2.IMREAD_COLOR_RGB)
        height, width = picture.shape[:2]
        rows = np.loadtxt(DATA / "coco128" / "boxes" / f"{stem}.txt", ndmin=2)
        half = rows[:, 3:5] / 2
        truth = np.concatenate([rows[:, 1:3] - half, rows[:, 1:3] + half], axis=1) * (width, height, width, height)
        large = truth[np.prod(truth[:, 2:] - truth[:, :2], axis=1) >= 96**2]
        met += (iou(large.astype(np.float32), selective_search(picture)).max(axis=1) >= 0.5).tolist()

    assert len(met) >= 5
    assert np.mean(met) >= 0.85
