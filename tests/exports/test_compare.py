"""Detections are matched by label and place, never by index, and gates say which figure breaks them."""

from __future__ import annotations

import numpy as np
import pytest

from exports.compare import Threshold, compare, mask_iou, match
from exports.gates import GATES, Gate, judge
from exports.ways import Seen
from pipelines.card import Card, InputSpec, Resize, Weights
from pipelines.masks import PlacedMask
from pipelines.results import Detections, Instances, RenderedPicture, SemanticMask

SPEC = InputSpec(
    name="x", height=32, width=32, mean=(0.0,) * 3, std=(1.0,) * 3, batch=None, resize=Resize(rule="stretch")
)


def card(family: str) -> Card:
    return Card(
        name="m",
        task="detect",
        family=family,
        names=("cat", "dog"),
        input=SPEC,
        weights=Weights(source="s", licence="l"),
        exporter="e",
    )


def objects(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    ids = table[:, 5].astype(np.int64)
    return Detections(table[:, :4], table[:, 4], ids, tuple(("cat", "dog")[i] for i in ids))


def seen(*rows: tuple[float, float, float, float, float, int]) -> Seen:
    return Seen(np.zeros(1), [], objects(*rows), None)


def seen_mask(*masks: PlacedMask) -> Seen:
    count = len(masks)
    box = np.array([[0, 0, 20, 20]] * count, np.float32)
    found = Instances(
        box, np.full(count, 0.9, np.float32), np.zeros(count, np.int64), ("cat",) * count, masks, (40, 40)
    )
    return Seen(np.zeros(1), [], found, None)


def test_detections_in_another_order_are_the_same() -> None:
    a = objects((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.9, 0))
    b = objects((50, 50, 60, 60, 0.9, 0), (0, 0, 10, 10, 0.9, 0))

    rows, columns = match(a, b)

    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_another_label_in_the_same_place_is_no_match() -> None:
    assert len(match(objects((0, 0, 10, 10, 0.9, 0)), objects((0, 0, 10, 10, 0.9, 1)))[0]) == 0


def test_half_overlap_is_a_match_and_less_is_none() -> None:
    # two squares of 10 that share 2/3 of each have an IoU of 1/2
    base = objects((0, 0, 10, 10, 0.9, 0))

    assert len(match(base, objects((0, 0, 10, 20, 0.9, 0)))[0]) == 1
    assert len(match(base, objects((0, 0, 10, 20.1, 0.9, 0)))[0]) == 0


def test_boxes_without_extent_match_by_their_corners() -> None:
    assert len(match(objects((5, 5, 3, 9, 0.9, 0)), objects((5.2, 5, 3, 9, 0.9, 0)))[0]) == 1


def test_each_detection_is_matched_once() -> None:
    rows, _ = match(objects((0, 0, 10, 10, 0.9, 0)), objects((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0)))

    assert len(rows) == 1


def test_a_missing_detection_lowers_the_share() -> None:
    pair = seen((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 1)), seen((0, 0, 10, 10, 0.9, 0))

    figures = compare(card("yolo"), [pair], Threshold(0.25))

    assert figures["matched"] == pytest.approx(1 - 1 / 3)  # 1 of 3 detections on both sides has no partner


def test_a_detection_at_the_threshold_may_be_on_one_side_only() -> None:
    pair = seen((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.2501, 1)), seen((0, 0, 10, 10, 0.9, 0))

    figures = compare(card("yolo"), [pair], Threshold(0.25, margin=1e-3))

    assert figures["matched"] == 1.0
    assert figures["at_the_threshold"] == 1


def test_nothing_found_on_either_side_is_agreement() -> None:
    assert compare(card("yolo"), [(seen(), seen())], Threshold(0.25))["matched"] == 1.0


def test_one_box_in_a_hundred_may_be_another_choice_of_suppression_but_it_is_reported() -> None:
    many = [(float(i) * 20, 0.0, i * 20 + 10.0, 10.0, 0.9, 0) for i in range(60)]
    moved = [(0.0, 0.0, 14.0, 10.0, 0.9, 0), *many[1:]]

    figures = compare(card("yolo"), [(seen(*many), seen(*moved))], Threshold(0.25))

    assert figures["box_difference_px"] == pytest.approx(4.0)
    assert figures["usual_box_difference_px"] == 0.0


def test_masks_overlap_by_their_pixels_wherever_their_rectangles_lie() -> None:
    square = np.ones((10, 10), np.bool_)
    a, moved, far = PlacedMask(0, 0, square), PlacedMask(5, 0, square), PlacedMask(30, 30, square)
    nothing = PlacedMask(0, 0, np.zeros((0, 0), np.bool_))

    assert mask_iou(a, a) == 1
    assert mask_iou(a, moved) == pytest.approx(50 / 150)
    assert mask_iou(a, far) == mask_iou(a, nothing) == 0
    assert mask_iou(nothing, nothing) == 1


def test_matched_objects_are_compared_by_their_masks_too() -> None:
    square = np.ones((10, 10), np.bool_)
    pair = seen_mask(PlacedMask(0, 0, square)), seen_mask(PlacedMask(5, 0, square))

    figures = compare(card("yolo-seg"), [pair], Threshold(0.25))

    assert figures["matched"] == 1.0
    assert figures["mask_iou"] == pytest.approx(1 / 3)
    assert any("mask_iou is 0.3333" in sentence for sentence in judge("objects", "fp32", figures))


def test_class_maps_are_compared_pixel_by_pixel_at_the_pictures_size() -> None:
    logits = [np.zeros((2, 4, 4), np.float32)]
    maps = np.zeros((2, 10, 10), np.uint8)
    maps[1, 0] = 1
    a, b = (Seen(np.zeros(1), logits, SemanticMask(one, ("cat", "dog")), None) for one in maps)

    assert compare(card("semantic-logits"), [(a, b)], Threshold(0))["equal_pixels"] == pytest.approx(0.9)


def test_made_pictures_are_compared_by_their_pixels() -> None:
    dark, bright = (RenderedPicture(np.full((4, 4, 3), value, np.uint8)) for value in (10, 13))
    a, b = (Seen(np.zeros(1), [], one, None) for one in (dark, bright))

    assert compare(card("transformer"), [(a, b)], Threshold(0))["pixel_difference"] == 3


def test_logits_are_compared_by_their_largest_difference_and_their_top() -> None:
    a = Seen(np.zeros(1), [np.array([1.0, 4.0], np.float32)], None, None)
    b = Seen(np.zeros(1), [np.array([4.5, 4.0], np.float32)], None, None)

    figures = compare(card("logits"), [(a, a), (a, b)], Threshold(0))

    assert figures["largest_difference"] == pytest.approx(3.5)
    assert figures["relative_difference"] == pytest.approx(3.5 / 4)
    assert figures["top1_agreement"] == 0.5


def test_a_value_that_is_no_number_passes_no_gate() -> None:
    a = Seen(np.zeros(1), [np.array([1.0, 4.0], np.float32)], None, None)
    b = Seen(np.zeros(1), [np.array([np.nan, 4.0], np.float32)], None, None)

    figures = compare(card("logits"), [(a, b)], Threshold(0))

    assert judge("labels", "fp32", figures)
    assert not Gate("x", at_most=1).holds(float("nan"))
    assert not Gate("x", at_least=1).holds(float("nan"))


def test_every_kind_has_gates_for_every_precision_and_each_says_why() -> None:
    kinds = {kind for kind, _ in GATES}

    assert {(k, p) for k in kinds for p in ("fp32", "fp16", "int8")} == set(GATES)
    assert all(gate.reason for gates in GATES.values() for gate in gates)


def test_a_broken_gate_says_value_limit_and_reason() -> None:
    (sentence,) = judge("labels", "fp32", {"relative_difference": 0.0, "top1_agreement": 0.9})

    assert "top1_agreement is 0.9, needed top1_agreement ≥ 1" in sentence
