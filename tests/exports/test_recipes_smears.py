"""What the smear recipes read and write: annotations, Ultralytics' label files, masks and their measure."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools")

from exports.recipes import bccd
from exports.recipes.accuracy import Truth, yolo_folder
from exports.recipes.mask_accuracy import MaskTruth, evaluate_masks
from exports.recipes.smear_yolos import entry, only
from exports.recipes.smears_yolo_seg.polygons import cells, outline, polygon_lines
from exports.recipes.yolo_training import box_lines, finished, make_cheap, write_dataset
from pipelines.masks import PlacedMask
from pipelines.results import Instances

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_smears = pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason=f"needs bccd in PIXELMILL_DATA ({DATA})")

ONE_SMEAR = """<annotation><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>WBC</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>50</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>150</xmin><ymin>60</ymin><xmax>230</xmax><ymax>90</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>0</xmax><ymax>40</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for inner in ("images", "annotations"):
        (tmp_path / inner).mkdir()
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "annotations" / "a.xml").write_text(ONE_SMEAR)
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.full((100, 200, 3), 220, np.uint8))
    return tmp_path


def test_boxes_are_clipped_to_the_smear_and_empty_ones_left_out(folder: Path) -> None:
    (smear,) = bccd.load("train", folder)

    assert smear.size == (100, 200)
    assert smear.labels == ("WBC", "RBC")
    np.testing.assert_array_equal(smear.boxes, np.array([[20, 10, 60, 50], [150, 60, 200, 90]], np.float32))


def test_an_unknown_label_is_named_with_those_known(folder: Path) -> None:
    (folder / "annotations" / "a.xml").write_text(ONE_SMEAR.replace("WBC", "ghost"))

    with pytest.raises(ValueError, match=r"'ghost'.*RBC, WBC, Platelets"):
        bccd.load("train", folder)


@needs_smears
def test_both_splits_hold_what_the_annotations_hold_and_share_no_smear() -> None:
    """By counting the tags in the files: 3350 red cells, two of them without area, 301 white cells, 292 platelets."""
    train, val = bccd.load("train"), bccd.load("val")
    labels = [label for smear in (*train, *val) for label in smear.labels]

    assert (len(train), len(val)) == (205, 87)
    assert {smear.path.name for smear in train}.isdisjoint(smear.path.name for smear in val)
    assert [labels.count(label) for label in bccd.LABELS] == [3348, 301, 292]


def test_label_files_for_training_say_the_same_boxes_to_another_reader(folder: Path) -> None:
    (smear,) = bccd.load("train", folder)
    (folder / "a.txt").write_text("\n".join(box_lines(smear)))

    (read,) = yolo_folder(folder / "images", folder)

    np.testing.assert_allclose(read.boxes, smear.boxes, atol=1e-3)
    assert read.class_ids.tolist() == [1, 0]
    assert next(bccd.truths([smear])).class_ids.tolist() == [1, 0]


@pytest.mark.torch
def test_a_written_data_set_is_one_ultralytics_accepts(folder: Path) -> None:
    check = pytest.importorskip("exports.libraries").library("ultralytics.data.utils").check_det_dataset
    smears = bccd.load("train", folder)

    described = write_dataset(folder / "made", smears, smears, box_lines)

    read = check(str(described), autodownload=False)
    assert read["names"] == dict(enumerate(bccd.NAMES))
    assert (Path(read["train"]) / "a.jpg").read_bytes() == smears[0].path.read_bytes()


@pytest.mark.torch
def test_a_training_counts_as_finished_once_its_optimiser_is_gone(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"optimizer": {"state": {}}, "epoch": 3}, tmp_path / "going.pt")
    torch.save({"optimizer": None, "epoch": -1}, tmp_path / "done.pt")

    assert not finished(tmp_path / "going.pt")
    assert finished(tmp_path / "done.pt")


@pytest.mark.torch
def test_the_catalogues_network_is_fitted_to_three_kinds_of_cells() -> None:
    pytest.importorskip("ultralytics")
    fitted = entry("yolo11n", "smears", 416)

    network: Any = fitted.network()

    assert fitted.facts().names == ("red cell", "white cell", "platelet")
    assert (fitted.facts().input.height, fitted.facts().input.width) == (416, 416)
    assert network.model[-1].nc == 3


@pytest.mark.torch
def test_training_in_half_precision_gives_float32_outputs_close_to_the_full_ones() -> None:
    torch = pytest.importorskip("torch")
    network: Any = entry("yolo11n", "smears", 416).network()
    picture = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    network.train()
    with torch.no_grad():
        full = network(picture)

        make_cheap(SimpleNamespace(model=network))
        half = network(picture)

    for name in ("boxes", "scores"):
        assert half[name].dtype == torch.float32
        assert not torch.equal(half[name], full[name])
        assert (half[name] - full[name]).abs().mean() < 0.1 * full[name].abs().mean()


def test_an_outline_filled_by_opencv_gives_the_mask_back() -> None:
    mask = np.zeros((100, 200), np.uint8)
    cv2.ellipse(mask, (90, 50), (40, 25), 30, 0, 360, 1, cv2.FILLED)
    cv2.circle(mask, (180, 20), 3, 1, cv2.FILLED)  # a second, smaller piece

    filled = cv2.fillPoly(np.zeros_like(mask), [outline(mask.astype(bool))], 1)

    ellipse = mask.copy()
    ellipse[:, 150:] = 0
    assert (filled & ellipse).sum() / (filled | ellipse).sum() > 0.97


@needs_smears
def test_every_polygon_lies_in_the_box_of_its_cell() -> None:
    smear = bccd.load("val")[0]
    found = list(cells(smear))

    lines = [line.split() for line in polygon_lines(smear)]

    assert len(lines) == len(found) == len(smear.labels)
    for fields, box, label in zip(lines, smear.boxes, smear.labels, strict=True):
        corners = np.array(fields[1:], np.float64).reshape(-1, 2) * (smear.size[1], smear.size[0])
        assert fields[0] == str(bccd.LABELS.index(label))
        assert (corners >= box[:2] - 0.5).all()
        assert (corners <= box[2:] + 0.5).all()


def square(x: int) -> PlacedMask:
    return PlacedMask(x, 10, np.ones((50, 50), np.bool_))


def instances(*masks: PlacedMask) -> Instances:
    count = len(masks)
    boxes = np.array([[m.x, m.y, m.x + 50, m.y + 50] for m in masks], np.float32)
    scores = np.linspace(0.9, 0.8, count).astype(np.float32)
    return Instances(boxes, scores, np.zeros(count, np.int64), ("cell",) * count, masks, (100, 200))


def test_masks_are_scored_by_what_they_share() -> None:
    """One mask as it should be, one moved by 10 of 50 pixels: IoU 2000 / 3000, above 4 of 10 thresholds."""
    truth = MaskTruth(Path("a.jpg"), (100, 200), (square(10), square(100)), np.array([0, 0], np.int64))

    same = evaluate_masks([instances(square(10), square(100))], [truth], ("cell",))
    moved = evaluate_masks([instances(square(10), square(110))], [truth], ("cell",))

    assert same == pytest.approx((1.0, 1.0))
    # from IoU 0.70 on one of two is found: 51 of the 101 recalls that pycocotools asks
    assert moved == pytest.approx((0.4 + 0.6 * 51 / 101, 1.0))


def test_one_class_is_judged_alone() -> None:
    boxes = np.array([[0, 0, 9, 9], [5, 5, 20, 20]], np.float32)

    kept = only(Truth(Path("a.jpg"), (50, 50), boxes, np.array([2, 0], np.int64)), 0)

    assert kept.class_ids.tolist() == [0]
    np.testing.assert_array_equal(kept.boxes, boxes[1:])
