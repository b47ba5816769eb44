"""Masks of objects, shaded into pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines import shade
from pipelines.draw import colour_of, draw, on_chequers
from pipelines.masks import PlacedMask
from pipelines.results import Instances, RenderedPicture

SIZE = (480, 640)
Row = tuple[np.ndarray, int, float]


def grey(size: tuple[int, int] = SIZE, value: int = 128) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def rectangle(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.bool_)
    mask[y1:y2, x1:x2] = True
    return mask


def instances(*rows: Row) -> Instances:
    """Rows of mask, class id, score; the boxes are those of the masks."""
    masks = tuple(PlacedMask.cut(row[0]) for row in rows)
    boxes = [(m.x, m.y, m.x + m.pixels.shape[1], m.y + m.pixels.shape[0]) for m in masks]
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int64),
        tuple(f"thing {row[1]}" for row in rows),
        masks,
        rows[0][0].shape if rows else SIZE,
    )


def has_line(drawn: np.ndarray, y: int, x: int, class_id: int) -> bool:
    """Whether an outline in the colour of a class runs through (y, x), give or take two pixels."""
    around = drawn[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].astype(int)
    return bool((np.abs(around - colour_of(class_id)).max(axis=2) <= 45).any())


def part_of_way(pixel: np.ndarray, ground: float, colour: tuple[int, int, int]) -> np.ndarray:
    """How far a pixel is from the ground (0) to a colour (1), by channel."""
    return (pixel.astype(float) - ground) / (np.array(colour, float) - ground)


def test_a_mask_is_translucent_in_the_colour_of_its_class_and_outlined_in_it() -> None:
    drawn = draw(grey(), SIZE, instances((rectangle(100, 150, 300, 400), 7, 0.9)))

    inside = part_of_way(drawn[300, 200], 128, colour_of(7))
    assert 0.3 < inside.mean() < 0.5
    assert np.ptp(inside) < 0.08
    assert has_line(drawn, 300, 100, 7)
    assert has_line(drawn, 399, 200, 7)
    assert tuple(drawn[300, 50]) == (128, 128, 128)


def test_an_outline_is_parted_from_what_is_on_both_its_sides_by_something_darker() -> None:
    drawn = draw(grey(value=230), SIZE, instances((rectangle(100, 150, 300, 400), 7, 0.9)))

    row = drawn[300, 80:120].astype(int).sum(axis=1)
    (on_line,) = np.nonzero((drawn[300, 80:120] == colour_of(7)).all(axis=1))
    before, behind = row[on_line[0] - 2 : on_line[0]].min(), row[on_line[-1] + 1 : on_line[-1] + 3].min()

    assert before < 0.75 * row[0]
    assert behind < 0.85 * row[-1]


def test_what_is_not_under_a_mask_is_left_as_it_was() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (*SIZE, 3)).astype(np.uint8)

    drawn = draw(picture, SIZE, instances((rectangle(300, 200, 400, 300), 3, 0.9)))

    touched = np.argwhere((drawn != picture).any(axis=2))
    chip = 40  # pixels a chip may stand above its object
    assert touched.min(axis=0)[0] >= 200 - chip
    assert touched.max(axis=0)[0] <= 300 + 6
    assert touched.max(axis=0)[1] <= 400 + 6


def test_the_smaller_of_two_overlapping_objects_lies_above_whatever_their_order_and_scores() -> None:
    large, small = rectangle(50, 100, 500, 450), rectangle(200, 200, 300, 300)

    first = draw(grey(), SIZE, instances((large, 1, 0.9), (small, 2, 0.5)))
    second = draw(grey(), SIZE, instances((small, 2, 0.9), (large, 1, 0.5)))

    for drawn in (first, second):
        over = part_of_way(drawn[250, 280], 128, colour_of(2))
        assert 0.3 < over.mean() < 0.5
        assert np.ptp(over) < 0.08  # its own colour, not a mixture of both
        assert has_line(drawn, 299, 250, 2)


def test_two_objects_of_one_class_that_touch_are_parted_by_a_line() -> None:
    drawn = draw(
        grey(), SIZE, instances((rectangle(100, 150, 300, 400), 5, 0.9), (rectangle(300, 150, 500, 400), 5, 0.8))
    )

    between = (drawn[300, 290:310] == colour_of(5)).all(axis=1)
    assert between.any()
    assert not (drawn[300, 200:280] == colour_of(5)).all(axis=1).any()


def test_a_hole_in_a_mask_stays_clear() -> None:
    ring = rectangle(100, 100, 400, 400) & ~rectangle(200, 200, 300, 300)

    drawn = draw(grey(), SIZE, instances((ring, 4, 0.9)))

    assert tuple(drawn[250, 250]) == (128, 128, 128)
    assert has_line(drawn, 250, 200, 4)


def test_no_outline_runs_along_the_edge_of_the_picture() -> None:
    drawn = draw(grey(), SIZE, instances((rectangle(0, 0, 640, 480), 4, 0.9)))

    assert not (drawn[-1] == colour_of(4)).all(axis=1).any()
    assert not (drawn[100:, 0] == colour_of(4)).all(axis=1).any()


def test_masks_in_pixels_of_the_original_are_scaled_to_a_reduced_picture() -> None:
    original = (960, 1280)

    drawn = draw(grey((240, 320)), original, instances((rectangle(400, 400, 1200, 800, original), 3, 0.9)))

    assert has_line(drawn, 150, 100, 3)
    assert has_line(drawn, 199, 200, 3)
    assert 0.3 < part_of_way(drawn[150, 200], 128, colour_of(3)).mean() < 0.5
    assert tuple(drawn[150, 90]) == (128, 128, 128)


def test_an_object_whose_mask_is_empty_is_framed_by_its_box() -> None:
    found = instances((rectangle(100, 150, 300, 400), 6, 0.9))
    empty = Instances(
        found.boxes, found.scores, found.class_ids, found.names, (PlacedMask(0, 0, np.zeros((0, 0), np.bool_)),), SIZE
    )

    drawn = draw(grey(), SIZE, empty)

    assert tuple(drawn[300, 100]) == colour_of(6)
    assert tuple(drawn[300, 200]) == (128, 128, 128)


def test_a_label_stands_over_the_place_where_its_object_reaches_its_top() -> None:
    tall = rectangle(100, 300, 600, 400) | rectangle(450, 150, 470, 300)

    drawn = draw(grey(), SIZE, instances((tall, 8, 0.9)))

    _, columns = np.nonzero((drawn[:145] == colour_of(8)).all(axis=2))
    assert abs((columns.min() + columns.max()) / 2 - 460) < 8


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (16, 16), (33, 47), (200, 150)])
def test_masks_are_drawn_into_pictures_of_every_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    rows = [(rng.random((300, 400)) < part, k, 0.5) for k, part in enumerate([0.0, 0.00002, 0.5, 1.0])]

    for original in (size, (300, 400)):
        masks = [(np.resize(mask, original), k, score) for mask, k, score in rows]
        assert draw(grey(size), original, instances(*masks)).shape == (*size, 3)


def test_more_objects_than_a_map_of_bytes_can_number_are_all_drawn() -> None:
    places = [(x, y) for y in range(0, 480, 24) for x in range(0, 640, 32)][:300]
    rows = [(rectangle(x + 4, y + 4, x + 28, y + 20), k % 50, 0.5) for k, (x, y) in enumerate(places)]

    drawn = draw(grey(), SIZE, instances(*rows))

    assert all((drawn[y + 4 : y + 20, x + 4 : x + 28] != 128).any() for x, y in places)


def test_the_strips_in_which_it_is_shaded_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 256, (200, 300, 3)).astype(np.uint8)
    areas = np.kron(rng.integers(0, 9, (20, 30)), np.ones((10, 10), int)).astype(np.uint8)
    colours = [colour_of(k) for k in range(8)]
    whole, strips = picture.copy(), picture.copy()

    shade.shade(whole, areas, colours, 5)
    monkeypatch.setattr(shade, "_STRIP", 1)
    shade.shade(strips, areas, colours, 5)

    assert np.array_equal(whole, strips)


@pytest.mark.parametrize("line", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("how", [cv2.MORPH_DILATE, cv2.MORPH_ERODE], ids=["dilate", "erode"])
def test_an_octagon_grown_from_a_narrower_one_is_a_whole_octagon(line: int, how: int) -> None:
    areas = np.random.default_rng(line).choice([0, 1, 2], (90, 110), p=[0.98, 0.01, 0.01]).astype(np.uint8)
    narrow, wide = line + 1, line + 2 * max(1, round(line / 5)) + 1

    grown = shade._spread(shade._spread(areas, 1, narrow, how), narrow, wide, how)

    y, x = np.mgrid[:wide, :wide]
    cut = round((1 - 0.5**0.5) * (wide - 1))  # of each corner, so that all eight sides are about as long
    corners = (np.minimum(y, wide - 1 - y) + np.minimum(x, wide - 1 - x)) < cut
    assert np.array_equal(grown, cv2.morphologyEx(areas, how, (~corners).astype(np.uint8)))


def test_a_crowd_has_thinner_outlines_and_a_small_picture_too() -> None:
    assert shade.outline_width(900, 1200, 1) > shade.outline_width(900, 1200, 60) >= 1
    assert shade.outline_width(900, 1200, 1) > shade.outline_width(150, 200, 1) == 1


def test_what_is_transparent_shows_as_chequers_and_what_is_not_as_itself() -> None:
    pixels = np.full((120, 160, 4), (200, 10, 10, 255), np.uint8)
    pixels[:, 80:, 3] = 0

    drawn = draw(pixels[..., :3], (120, 160), RenderedPicture(pixels))

    assert (drawn[:, :80] == (200, 10, 10)).all()
    greys = np.unique(drawn[:, 80:].reshape(-1, 3), axis=0)
    assert len(greys) == 2
    assert (greys[:, 0] == greys[:, 1]).all()
    assert (greys[:, 0] == greys[:, 2]).all()


def test_half_transparent_is_half_of_each() -> None:
    clear, solid = np.zeros((64, 64, 4), np.uint8), np.full((64, 64, 4), (200, 10, 10, 255), np.uint8)
    half = solid.copy()
    half[..., 3] = 128

    mixed = on_chequers(half).astype(float)

    expected = on_chequers(clear) * (127 / 255) + on_chequers(solid) * (128 / 255)
    assert np.abs(mixed - expected).max() <= 1.5


def test_the_colour_of_what_cannot_be_seen_does_not_bleed_when_a_cut_out_is_scaled() -> None:
    pixels = np.zeros((100, 100, 4), np.uint8)
    pixels[:, :50] = (0, 0, 255, 255)
    pixels[:, 50:] = (255, 0, 0, 0)  # red, and invisible

    small = on_chequers(pixels, (33, 33)).astype(int)

    assert (small[..., 0] <= small[..., 1] + 2).all()  # nowhere more red than a grey is


def test_a_made_picture_without_alpha_is_shown_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)

    drawn = draw(grey((30, 40)), (30, 40), RenderedPicture(pixels))

    assert np.array_equal(drawn, pixels)
    assert not np.shares_memory(drawn, pixels)
