"""Outlines fill back to the mask they were drawn from: by the rules of pycocotools, Pillow and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.masks import PlacedMask
from pipelines.polygons import joined, polygons

coco = pytest.importorskip("pycocotools.mask")

# pycocotools decodes in a way NumPy 2 calls old
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEIGHT, WIDTH = 90, 120


def filled(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    if not parts:
        return np.zeros(shape, bool)
    encoded = coco.frPyObjects([part.ravel().tolist() for part in parts], *shape)
    return np.asarray(coco.decode(coco.merge(encoded))).astype(bool)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@st.composite
def shapes(draw: st.DrawFn) -> np.ndarray:
    """Ellipses and turned rectangles, united and cut out of one another: parts, holes, corners, slopes."""
    whole = np.zeros((HEIGHT, WIDTH), bool)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for _ in range(draw(st.integers(1, 4))):
        turn = draw(st.floats(0, np.pi))
        dx, dy = x - draw(st.floats(10, WIDTH - 10)), y - draw(st.floats(10, HEIGHT - 10))
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        a, b = draw(st.floats(3, 40)), draw(st.floats(3, 40))
        shape = (u / a) ** 2 + (v / b) ** 2 < 1 if draw(st.booleans()) else (abs(u) < a) & (abs(v) < b)
        whole = whole | shape if draw(st.integers(0, 2)) or not whole.any() else whole & ~shape
    return whole


@given(shapes().filter(np.any))
@settings(max_examples=200)
def test_pycocotools_fills_the_outlines_of_shapes_with_exactly_the_mask(whole: np.ndarray) -> None:
    parts = polygons(PlacedMask.cut(whole))

    assert np.array_equal(filled(parts, whole.shape), whole)
    assert np.array_equal(filled([joined(parts)], whole.shape), whole)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 25), st.integers(1, 25))).filter(np.any))
def test_pycocotools_fills_the_outlines_of_noise_with_exactly_the_mask(whole: np.ndarray) -> None:
    parts = polygons(PlacedMask.cut(whole))

    assert np.array_equal(filled(parts, whole.shape), whole)
    assert np.array_equal(filled([joined(parts)], whole.shape), whole)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.integers(0, 9))
def test_a_rectangle_of_pixels_is_that_rectangle(width: int, height: int, x: int, y: int) -> None:
    (outline,) = polygons(PlacedMask(x, y, np.ones((height, width), bool)))

    assert area(outline) == width * height
    assert sorted(map(tuple, outline.tolist())) == sorted(
        [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    )


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 25), st.integers(1, 25))))
def test_there_is_an_outline_for_each_part_that_hangs_together_through_edges(whole: np.ndarray) -> None:
    count, _ = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)

    assert len(polygons(PlacedMask.cut(whole))) == count - 1  # OpenCV counts the background


@given(shapes())
def test_the_largest_part_comes_first_and_all_go_clockwise(whole: np.ndarray) -> None:
    areas = [area(outline) for outline in polygons(PlacedMask.cut(whole))]

    assert areas == sorted(areas, reverse=True)
    assert all(a > 0 for a in areas)


@given(shapes())
def test_areas_add_up_to_the_number_of_pixels(whole: np.ndarray) -> None:
    total = sum(area(outline) for outline in polygons(PlacedMask.cut(whole)))

    # a slope through the middles of steps takes as much as it gives, but for its ends: half a pixel's eighth a corner
    perimeter = (
        np.abs(np.diff(np.pad(whole, 1).astype(int), axis=0)).sum()
        + np.abs(np.diff(np.pad(whole, 1).astype(int), axis=1)).sum()
    )
    assert total == pytest.approx(whole.sum(), abs=1 + 0.125 * perimeter)


def test_a_hole_stays_empty_by_pillows_rule_and_by_opencvs() -> None:
    from PIL import Image, ImageDraw

    whole = np.zeros((60, 60), bool)
    whole[10:50, 10:50] = True
    whole[20:40, 25:35] = False

    (outline,) = polygons(PlacedMask.cut(whole))

    assert area(outline) == whole.sum()
    scaled = Image.new("1", (480, 480))  # at eight times the size, so that the border's own width matters little
    ImageDraw.Draw(scaled).polygon([tuple(point) for point in (outline * 8).tolist()], fill=1)
    assert iou(np.asarray(scaled)[4::8, 4::8], whole) > 0.98
    canvas = np.zeros((480, 480), np.uint8)
    cv2.fillPoly(canvas, [np.round(outline * 8).astype(np.int32)], 1)
    assert iou(canvas[4::8, 4::8].astype(bool), whole) > 0.98


def test_pixels_that_touch_at_a_corner_are_parts_of_their_own() -> None:
    falling, rising = np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]

    assert [area(p) for p in polygons(PlacedMask.cut(falling))] == [1, 1]
    assert [area(p) for p in polygons(PlacedMask.cut(rising))] == [1, 1]


def test_a_slope_needs_few_points() -> None:
    y, x = np.mgrid[:400, :400] + 0.5
    disc = (x - 200) ** 2 + (y - 200) ** 2 < 150**2

    (outline,) = polygons(PlacedMask.cut(disc))

    corners = cv2.findContours(disc.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
    assert len(outline) < len(corners) / 3
    assert area(outline) == pytest.approx(np.pi * 150**2, rel=1e-3)


def test_no_pixel_has_no_outline() -> None:
    assert polygons(PlacedMask(0, 0, np.zeros((0, 0), bool))) == []
    assert polygons(PlacedMask(3, 4, np.zeros((5, 6), bool))) == []
