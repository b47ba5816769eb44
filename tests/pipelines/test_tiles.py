"""Large pictures in tiles: the tiles cover the picture, and merged results agree with what smaller pictures give."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines
from pipelines.errors import ParameterError
from pipelines.geometry import iou
from pipelines.masks import PlacedMask
from pipelines.params import DetectParams, InstancesParams, fingerprint
from pipelines.results import Detections, Instances
from pipelines.seams import View, merge
from pipelines.tiles import plan_tiles

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PHOTOS = sorted((DATA / "coco128" / "images").rglob("*.jpg"))
needs_photos = pytest.mark.skipif(not PHOTOS, reason="no coco128 photographs; set PIXELMILL_DATA")


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(64, 1500), st.floats(0, 0.5, allow_nan=False))
def test_the_own_parts_of_tiles_cover_each_pixel_once(size: tuple[int, int], side: int, overlap: float) -> None:
    seen = np.zeros(size, np.uint8)

    for tile in plan_tiles(size, side, overlap):
        left, top, right, bottom = tile.own
        assert tile.left <= left < right <= tile.right <= size[1]
        assert tile.top <= top < bottom <= tile.bottom <= size[0]
        assert tile.right - tile.left == min(side, size[1])
        seen[top:bottom, left:right] += 1

    assert (seen == 1).all()


@given(st.integers(65, 5000), st.integers(64, 1500), st.floats(0, 0.5, allow_nan=False))
def test_neighbouring_tiles_share_what_was_asked_for(width: int, side: int, overlap: float) -> None:
    tiles = plan_tiles((64, width), side, overlap)

    for before, after in pairwise(tiles):
        assert before.right - after.left >= np.floor(side * overlap)


def detections(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4], np.zeros(len(rows), np.int64), ("cat",) * len(rows))


def test_a_piece_goes_where_a_neighbour_saw_the_whole() -> None:
    left = View((0, 0, 100, 100), detections((70, 20, 100, 60, 0.9)))
    right = View((60, 0, 160, 100), detections((10, 20, 60, 60, 0.8)))

    merged = merge([View(None, detections()), left, right], (100, 160), DetectParams())

    np.testing.assert_allclose(merged.boxes, [[70, 20, 120, 60]])


def test_pieces_that_agree_in_the_shared_strip_are_joined() -> None:
    left = View((0, 0, 100, 100), detections((20, 20, 100, 60, 0.7)))
    right = View((80, 0, 180, 100), detections((0, 21, 70, 60, 0.9)))

    merged = merge([View(None, detections()), left, right], (100, 180), DetectParams())

    np.testing.assert_allclose(merged.boxes, [[20, 20, 150, 60]])
    np.testing.assert_allclose(merged.scores, [0.9])


def test_pieces_at_different_heights_stay_apart() -> None:
    left = View((0, 0, 100, 100), detections((20, 5, 100, 30, 0.7)))
    right = View((80, 0, 180, 100), detections((0, 60, 70, 90, 0.9)))

    assert len(merge([View(None, detections()), left, right], (100, 180), DetectParams()).names) == 2


def test_pieces_of_what_is_larger_than_a_tile_give_way_to_the_picture_as_a_whole() -> None:
    whole = View(None, detections((5, 5, 175, 95, 0.5)))
    left = View((0, 0, 100, 100), detections((5, 5, 100, 95, 0.9)))
    right = View((80, 0, 180, 100), detections((0, 40, 95, 95, 0.9)))

    merged = merge([whole, left, right], (100, 180), DetectParams())

    np.testing.assert_allclose(merged.boxes, [[5, 5, 175, 95]])


def test_masks_of_joined_pieces_are_united() -> None:
    def instance(box: tuple[int, int, int, int], size: tuple[int, int]) -> Instances:
        x1, y1, x2, y2 = box
        found = detections((*box, 0.9))
        mask = PlacedMask(x1, y1, np.ones((y2 - y1, x2 - x1), np.bool_))
        return Instances(found.boxes, found.scores, found.class_ids, found.names, (mask,), size)

    empty = detections()
    none = Instances(empty.boxes, empty.scores, empty.class_ids, (), (), (100, 180))
    left = View((0, 0, 100, 100), instance((20, 20, 100, 60), (100, 100)))
    right = View((80, 0, 180, 100), instance((0, 20, 70, 60), (100, 100)))

    merged = merge([View(None, none), left, right], (100, 180), InstancesParams())

    assert isinstance(merged, Instances)
    expected = np.zeros((100, 180), np.bool_)
    expected[20:60, 20:150] = True
    np.testing.assert_array_equal(merged.masks[0].whole((100, 180)), expected)


@needs_photos
def test_tiles_find_in_a_mosaic_what_its_photographs_give_alone() -> None:
    photos = [cv2.cvtColor(cv2.resize(cv2.imread(str(p)), (480, 480)), cv2.COLOR_BGR2RGB) for p in PHOTOS[:9]]
    mosaic = np.vstack([np.hstack(photos[row : row + 3]) for row in (0, 3, 6)])
    alone = pipelines.load("ssd-mobilenet-v2", {"score": 0.4}, provider="cpu")
    found = {}
    for tile in (0, 480):
        result = pipelines.load("ssd-mobilenet-v2", {"score": 0.3, "tile": tile}, provider="cpu")(mosaic)
        assert isinstance(result.found, Detections)
        found[tile] = result.found

    hits, total = {0: 0, 480: 0}, 0
    for number, photo in enumerate(photos):
        wanted = alone(np.ascontiguousarray(photo)).found
        assert isinstance(wanted, Detections)
        boxes = wanted.boxes + np.array([number % 3 * 480, number // 3 * 480] * 2, np.float32)
        total += len(boxes)
        for tile, ours in found.items():
            same = (iou(boxes, ours.boxes) >= 0.5) & (wanted.class_ids[:, None] == ours.class_ids[None])
            hits[tile] += int(same.any(axis=1).sum())

    assert hits[480] >= 0.6 * total
    assert hits[480] > 2 * hits[0]


def test_a_picture_that_fits_into_one_tile_runs_as_without() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    plain = pipelines.load("ssd-mobilenet-v2", {"score": 0.05}, provider="cpu")(pixels)
    tiled = pipelines.load("ssd-mobilenet-v2", {"score": 0.05, "tile": 300}, provider="cpu")(pixels)

    assert plain.found is not None
    assert tiled.found is not None
    assert plain.found.to_json() == tiled.found.to_json()


def test_without_tiles_the_fingerprint_is_the_one_from_before_there_were_any() -> None:
    before = {"score": 0.25, "iou": 0.45, "max_detections": 300, "classes": []}

    assert fingerprint("detect", "ab", DetectParams().model_dump(mode="json")) == fingerprint("detect", "ab", before)
    assert fingerprint("detect", "ab", DetectParams(tile=512).model_dump(mode="json")) != fingerprint(
        "detect", "ab", before
    )


@pytest.mark.parametrize("wrong", [{"tile": 10}, {"tile": -1}, {"tile_overlap": 0.9}])
def test_tiles_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="tile"):
        pipelines.load("ssd-mobilenet-v2", wrong, provider="cpu")
