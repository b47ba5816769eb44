"""The recipes' measure: what pycocotools says of detections whose quality is known beforehand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from exports.recipes.accuracy import Truth, evaluate, yolo_folder
from pipelines.results import Detections

NAMES = ("cat", "dog")
BOXES = np.array([[10, 10, 60, 60], [100, 20, 180, 90]], np.float32)


def truth() -> Truth:
    return Truth(Path("a.jpg"), (100, 200), BOXES, np.array([0, 1], np.int64))


def found(boxes: np.ndarray, class_ids: list[int]) -> Detections:
    scores = np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)
    return Detections(boxes, scores, np.array(class_ids, np.int64), tuple(NAMES[i] for i in class_ids))


def test_detections_equal_to_the_truth_reach_the_full_map() -> None:
    assert evaluate([found(BOXES, [0, 1])], [truth()], NAMES) == pytest.approx((1.0, 1.0))


def test_one_class_of_two_found_reaches_half() -> None:
    assert evaluate([found(BOXES[:1], [0])], [truth()], NAMES) == pytest.approx((0.5, 0.5))


def test_a_box_of_iou_two_thirds_counts_at_four_of_ten_thresholds() -> None:
    """50×50 moved by 10: 2000 / 3000 shared, above 0.50, 0.55, 0.60 and 0.65."""
    moved = BOXES + np.array([[10, 0, 10, 0], [0, 0, 0, 0]], np.float32)

    mean, fifty = evaluate([found(moved, [0, 1])], [truth()], NAMES)

    assert mean == pytest.approx((0.4 + 1.0) / 2)
    assert fifty == pytest.approx(1.0)


def test_labels_are_read_in_pixels_and_a_picture_without_labels_has_no_objects(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((100, 200, 3), np.uint8))
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n")

    with_labels, without = yolo_folder(tmp_path, tmp_path)

    np.testing.assert_allclose(with_labels.boxes, [[80, 30, 120, 70]])
    assert with_labels.class_ids.tolist() == [1]
    assert with_labels.size == (100, 200)
    assert without.boxes.shape == (0, 4)
