"""COCO, YOLO and VOC folders say the same, and a figure is what pycocotools makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pycocotools")

from pycocotools import mask as coco_masks

from exports.catalog import find
from exports.evaluate import open_dataset
from exports.labelled_maps import labelled_maps, mean_iou
from exports.pictures import draw
from exports.recipes.accuracy import Truth
from exports.recipes.mask_accuracy import MaskTruth, evaluate_masks
from pipelines.card import Task, read_card
from pipelines.catalog import SHIPPED
from pipelines.errors import ParameterError
from pipelines.pipeline import build as build_pipeline
from pipelines.results import Instances

NAMES = ("cat", "dog")
TASKS: tuple[Task, ...] = ("detect", "instances", "segment", "classify")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), draw(1, (100, 200)))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    picture(tmp_path / "coco" / "images" / "a.jpg")
    (tmp_path / "coco" / "instances.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "a.jpg"}],
                "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
                "annotations": [
                    {"image_id": 7, "category_id": 18, "bbox": [20, 10, 40, 30]},
                    {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]},
                ],
            }
        )
    )
    return tmp_path / "coco"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    folder = tmp_path / "yolo"
    picture(folder / "images" / "a.jpg")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("1 0.2 0.25 0.2 0.3\n0 0.01 0.02 0.02 0.04\n")
    (folder / "data.yaml").write_text("names: {0: person, 1: dog}\n")
    return folder


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    folder = tmp_path / "voc"
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(
        "<annotation><object><name>dog</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>40</ymax>"
        "</bndbox></object><object><name>person</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>5</xmax><ymax>5</ymax>"
        "</bndbox></object></annotation>"
    )
    return folder


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc"])
def test_every_kind_of_folder_gives_the_boxes_of_known_classes(kind: str, request: pytest.FixtureRequest) -> None:
    dataset = open_dataset(request.getfixturevalue(kind), "detect", NAMES)

    assert dataset is not None
    assert dataset.metric == "box mAP"
    (truth,) = dataset.truths
    assert isinstance(truth, Truth)
    assert truth.size == (100, 200)
    assert truth.class_ids.tolist() == [1]
    np.testing.assert_allclose(truth.boxes, [[20, 10, 60, 40]], atol=1e-4)


def test_pictures_without_labels_are_no_dataset(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")

    assert [open_dataset(tmp_path, task, NAMES) for task in TASKS] == [None] * len(TASKS)


def test_labels_of_classes_the_model_does_not_know_are_an_error(yolo: Path) -> None:
    with pytest.raises(ParameterError, match="is of a class this model knows"):
        open_dataset(yolo, "detect", ("fish", "bird"))


@pytest.mark.parametrize("line", ["1 0.2", "one 0.2 0.2 0.1 0.1", "1 0.2 0.2 0.1 wide", "1 0 0 1 1 0"])
def test_a_line_that_is_no_label_is_named(line: str, yolo: Path) -> None:
    (yolo / "labels" / "a.txt").write_text(f"{line}\n")

    with pytest.raises(ParameterError, match=r"a\.txt holds a line that is no YOLO label"):
        open_dataset(yolo, "detect", NAMES)


def test_one_folder_a_class_is_a_dataset_for_classification(tmp_path: Path) -> None:
    for name in ("3", "7", "unknown"):
        picture(tmp_path / name / "a.png")

    dataset = open_dataset(tmp_path, "classify", find("lenet5").facts().names)

    assert dataset is not None
    assert dataset.metric == "top-1"
    assert dataset.truths == ((tmp_path / "3" / "a.png", 3), (tmp_path / "7" / "a.png", 7))


@pytest.fixture
def outlined_yolo(yolo: Path) -> Path:
    (yolo / "labels" / "a.txt").write_text("1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n0 0.01 0.02 0.02 0.02 0.02 0.04\n")
    return yolo


@pytest.fixture
def outlined_coco(coco: Path) -> Path:
    content = json.loads((coco / "instances.json").read_text())
    content["annotations"][0]["segmentation"] = [[20, 10, 60, 10, 60, 40, 20, 40]]
    (coco / "instances.json").write_text(json.dumps(content))
    return coco


@pytest.fixture
def coco_with_runs(coco: Path) -> Path:
    whole = np.zeros((100, 200), np.uint8, order="F")
    whole[10:40, 20:60] = 1
    runs = coco_masks.encode(whole)
    content = json.loads((coco / "instances.json").read_text())
    content["annotations"][0]["segmentation"] = {"size": runs["size"], "counts": runs["counts"].decode()}
    (coco / "instances.json").write_text(json.dumps(content))
    return coco


@pytest.mark.parametrize("kind", ["outlined_yolo", "outlined_coco", "coco_with_runs"])
def test_outlines_become_masks_of_the_pixels_inside(kind: str, request: pytest.FixtureRequest) -> None:
    expected = np.zeros((100, 200), np.bool_)
    expected[10:40, 20:60] = True

    dataset = open_dataset(request.getfixturevalue(kind), "instances", NAMES)

    assert dataset is not None
    assert dataset.metric == "mask mAP"
    (truth,) = dataset.truths
    assert isinstance(truth, MaskTruth)
    assert truth.class_ids.tolist() == [1]
    np.testing.assert_array_equal(truth.masks[0].whole(truth.size), expected)


def test_an_outline_has_its_box_for_a_detector(outlined_yolo: Path) -> None:
    dataset = open_dataset(outlined_yolo, "detect", NAMES)

    assert dataset is not None
    (truth,) = dataset.truths
    assert isinstance(truth, Truth)
    np.testing.assert_allclose(truth.boxes, [[20, 10, 60, 40]], atol=1e-4)


def test_boxes_alone_are_no_labels_for_masks(yolo: Path, voc: Path) -> None:
    assert open_dataset(yolo, "instances", NAMES) is None
    assert open_dataset(voc, "instances", NAMES) is None


def test_masks_that_are_found_exactly_have_a_perfect_figure(outlined_coco: Path) -> None:
    dataset = open_dataset(outlined_coco, "instances", NAMES)
    assert dataset is not None
    (truth,) = dataset.truths
    assert isinstance(truth, MaskTruth)
    box, score = np.array([[20, 10, 60, 40]], np.float32), np.array([0.9], np.float32)
    found = Instances(box, score, truth.class_ids, ("dog",), truth.masks, truth.size)

    assert evaluate_masks([found], [truth], NAMES) == pytest.approx((1.0, 1.0))


def class_maps(folder: Path, where: str, described: str | None) -> Path:
    """A picture whose left half is class 7, the right one class 9, with a column that nobody judges."""
    picture(folder / "images" / "a.jpg")
    numbers = np.full((100, 200), 9, np.uint8)
    numbers[:, :100] = 7
    numbers[:, 0] = 255
    (folder / where).mkdir()
    painted = Image.fromarray(numbers)
    painted.putpalette([value for i in range(256) for value in (i, 255 - i, 0)])
    painted.save(folder / where / "a.png")
    if described:
        (folder / "data.yaml").write_text(described)
    return folder


@pytest.mark.parametrize("where", ["masks", "semantic", "labels"])
def test_class_maps_are_read_by_the_names_of_their_classes(where: str, tmp_path: Path) -> None:
    folder = class_maps(tmp_path, where, "names: {7: dog, 9: lamp}")

    (truth,) = labelled_maps(folder, ("__background__", "cat", "dog")) or []

    right = truth.class_map()
    assert right.shape == truth.size == (100, 200)
    assert np.unique(right[:, :1]).tolist() == [255]
    assert np.unique(right[:, 1:100]).tolist() == [2]
    assert np.unique(right[:, 100:]).tolist() == [0]  # a lamp is background to a model that knows none


def test_a_class_unknown_to_a_model_without_a_background_is_not_judged(tmp_path: Path) -> None:
    (truth,) = labelled_maps(class_maps(tmp_path, "masks", "names: {7: dog, 9: lamp}"), NAMES) or []

    assert np.unique(truth.class_map()).tolist() == [1, 255]


def test_pascal_vocs_numbers_are_known_without_a_description_and_by_cocos_names(tmp_path: Path) -> None:
    (truth,) = labelled_maps(class_maps(tmp_path, "SegmentationClass", None), ("background", "chair", "car")) or []

    assert np.unique(truth.class_map()).tolist() == [1, 2, 255]


def test_a_class_map_of_another_size_or_kind_is_named(tmp_path: Path) -> None:
    folder = class_maps(tmp_path, "masks", None)
    (truth,) = labelled_maps(folder, NAMES) or []

    cv2.imwrite(str(truth.file), np.zeros((50, 200), np.uint8))
    with pytest.raises(ParameterError, match=r"a\.png has \(50, 200\) pixels, its picture \(100, 200\)"):
        truth.class_map()
    cv2.imwrite(str(truth.file), np.zeros((100, 200, 3), np.uint8))
    with pytest.raises(ParameterError, match=r"a\.png has pixels of kind RGB"):
        truth.class_map()


def test_the_mean_overlap_counts_classes_that_are_there_and_pixels_that_are_judged(tmp_path: Path) -> None:
    model = SHIPPED / "smears-semantic.onnx"
    names = read_card(model).names
    folder, random = tmp_path / "labelled", np.random.default_rng(5)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    judged = []
    for name in ("a", "b"):
        picture = random.integers(0, 255, (60, 80, 3), np.uint8)
        right = random.choice(np.array([0, 1, 255], np.uint8), (60, 80))
        cv2.imwrite(str(folder / "images" / f"{name}.png"), picture)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), right)
        (result,) = build_pipeline(model, {}, provider="cpu").map([folder / "images" / f"{name}.png"])
        judged += zip(right.ravel().tolist(), result.found.class_map.ravel().tolist(), strict=True)
    judged = [pair for pair in judged if pair[0] != 255]

    truths = labelled_maps(folder, names)
    measured = mean_iou(build_pipeline(model, {}, provider="cpu"), truths or [])

    overlaps = [
        sum(pair == (one, one) for pair in judged) / sum(one in pair for pair in judged) for one in (0, 1)
    ]  # classes 2 and 3 are in no map
    assert measured == pytest.approx(sum(overlaps) / 2, abs=1e-6)
