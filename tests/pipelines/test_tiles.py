"""Large pictures in tiles: the tiles cover the picture, and merged results agree with what smaller pictures give."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
from pipelines.errors import ParameterError
from pipelines.geometry import iou
from pipelines.masks import PlacedMask
from pipelines.params import DetectParams, InstancesParams, fingerprint
from pipelines.results import Detections, Found, Instances, SemanticMask
from pipelines.seams import View, merge
from pipelines.tiles import plan_tiles

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PHOTOS = sorted((DATA / "coco128" / "images").rglob("*.jpg"))
SMEARS = sorted((DATA / "bccd" / "images").glob("*.jpg"))
needs_smears = pytest.mark.skipif(not SMEARS, reason="no bccd smears; set PIXELMILL_DATA")
needs_photos = pytest.mark.skipif(not PHOTOS, reason="no coco128 photographs; set PIXELMILL_DATA")


@settings(deadline=None)
@given(st.tuples(st.integers(1, 1500), st.integers(1, 1500)), st.integers(64, 1500), st.floats(0, 0.5, allow_nan=False))
def test_the_own_parts_of_tiles_cover_each_pixel_once(size: tuple[int, int], side: int, overlap: float) -> None:
    seen = np.zeros(size, np.uint8)

    for tile in plan_tiles(size, side, overlap):
        left, top, right, bottom = tile.own
        assert tile.left <= left < right <= tile.right <= size[1]
        assert tile.top <= top < bottom <= tile.bottom <= size[0]
        assert tile.right - tile.left == min(side, size[1])
        seen[top:bottom, left:right] += 1

    assert (seen == 1).all()


@settings(deadline=None)
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


def test_a_piece_in_the_strip_is_left_to_the_neighbour_that_sees_it_whole_and_calls_it_nothing() -> None:
    left = View((0, 0, 100, 100), detections((70, 20, 100, 60, 0.9)))
    right = View((60, 0, 160, 100), detections())

    assert len(merge([View(None, detections()), left, right], (100, 160), DetectParams()).names) == 0


def test_a_small_thing_in_the_picture_as_a_whole_is_left_to_the_tile_that_holds_it() -> None:
    whole = View(None, detections((10, 10, 40, 40, 0.9), (10, 10, 150, 90, 0.8)))
    left, right = View((0, 0, 100, 100), detections()), View((60, 0, 160, 100), detections())

    merged = merge([whole, left, right], (100, 160), DetectParams())

    np.testing.assert_allclose(merged.boxes, [[10, 10, 150, 90]])


def test_a_piece_inside_a_surer_whole_of_another_class_goes_and_a_whole_thing_inside_stays() -> None:
    whole = View(None, detections((5, 5, 175, 95, 0.9)))
    table = np.array([(10, 10, 100, 90, 0.5), (20, 20, 60, 60, 0.5)], np.float32)
    left = View((0, 0, 100, 100), Detections(table[:, :4], table[:, 4], np.array([1, 1]), ("dog", "dog")))
    right = View((80, 0, 180, 100), detections())

    merged = merge([whole, left, right], (100, 180), DetectParams())

    assert merged.names == ("cat", "dog")
    np.testing.assert_allclose(merged.boxes[1], [20, 20, 60, 60])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 280), st.integers(0, 180), st.integers(4, 60)), max_size=6))
def test_what_tiles_see_whole_comes_out_where_it_is(things: list[tuple[int, int, int]]) -> None:
    size, edge = (200, 300), 3  # pixels from a border within which a thing counts as cut by it
    true = np.array([(x, y, min(x + s, 300), min(y + s, 200)) for x, y, s in things], np.float32).reshape(-1, 4)
    views, seen = [View(None, detections())], np.zeros(len(true), np.bool_)
    for tile in plan_tiles(size, 128, 0.25):
        place = np.array([tile.left, tile.top, tile.right, tile.bottom], np.float32)
        inner = np.array([tile.left > 0, tile.top > 0, tile.right < 300, tile.bottom < 200])
        room = np.hstack([true[:, :2] - place[:2], place[2:] - true[:, 2:]])
        inside = (room >= np.where(inner, edge, 0)).all(axis=1)
        seen |= inside
        rows = [(*(box - np.tile(place[:2], 2)), 0.5) for box in true[inside]]
        views.append(View((tile.left, tile.top, tile.right, tile.bottom), detections(*rows)))

    merged = merge(views, size, DetectParams())

    for box in merged.boxes:
        assert (iou(box[None], true) > 0.99).any()
    for box in true[seen]:  # itself, or another that suppression takes for the same
        assert (iou(box[None], merged.boxes) > 0.45).any()


def share_found(wanted: Detections | Instances, least: float, found: Detections | Instances) -> float:
    """Which part of the boxes of at least this score is among those found, each in one pair at most."""
    sure = wanted.scores >= least
    overlap = iou(wanted.boxes[sure], found.boxes) * (wanted.class_ids[sure][:, None] == found.class_ids[None])
    pairs = 0
    while overlap.size and overlap.max() >= 0.5:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row], overlap[:, column] = 0, 0
        pairs += 1
    return pairs / int(sure.sum())


def two_smears() -> np.ndarray:
    """Two photographs side by side, (480, 1280, 3); the middle one of three tiles has a part of both."""
    return np.hstack([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in SMEARS[:2]])


def at_once_and_in_tiles(model: str, **params: float) -> tuple[Found, Found]:
    """What one run gives that shrinks the picture as little as its tiles are shrunk, and what the tiles give."""
    whole = pipelines.load(model, params, provider="cpu")
    spec = whole.card.input
    sides = {"width": 2 * spec.width, "height": 2 * spec.height}
    whole.card = whole.card.model_copy(update={"input": spec.model_copy(update=sides)})
    tiled = pipelines.load(model, {**params, "tile": 640}, provider="cpu")
    found = whole(two_smears()).found, tiled(two_smears()).found
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


@needs_smears
@pytest.mark.parametrize("model", ["smears-yolo", "smears-yolo-seg"])
def test_tiles_find_the_cells_that_one_run_over_the_whole_picture_finds(model: str) -> None:
    whole, tiled = at_once_and_in_tiles(model, score=0.1)

    # a score moves a little with what lies around: what one is sure of, the other must at least suspect
    assert isinstance(whole, Detections | Instances)
    assert isinstance(tiled, Detections | Instances)
    assert share_found(whole, 0.4, tiled) >= 0.95
    assert share_found(tiled, 0.4, whole) >= 0.95


@needs_smears
def test_the_class_map_of_tiles_is_that_of_one_run_over_the_whole_picture() -> None:
    whole, tiled = at_once_and_in_tiles("smears-semantic")

    assert isinstance(whole, SemanticMask)
    assert isinstance(tiled, SemanticMask)
    assert (whole.class_map == tiled.class_map).mean() >= 0.99


@needs_photos
def test_tiles_find_in_a_mosaic_what_its_photographs_give_alone() -> None:
    photos = [cv2.cvtColor(cv2.resize(cv2.imread(str(p)), (480, 480)), cv2.COLOR_BGR2RGB) for p in PHOTOS[:4]]
    mosaic = np.vstack([np.hstack(photos[row : row + 2]) for row in (0, 2)])
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
        boxes = wanted.boxes + np.array([number % 2 * 480, number // 2 * 480] * 2, np.float32)
        total += len(boxes)
        for tile, ours in found.items():
            same = (iou(boxes, ours.boxes) >= 0.5) & (wanted.class_ids[:, None] == ours.class_ids[None])
            hits[tile] += int(same.any(axis=1).sum())

    assert hits[480] >= 0.6 * total
    assert hits[480] > hits[0], hits


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
