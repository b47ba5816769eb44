"""COCO, YOLO and VOC folders say the same, and a figure is what pycocotools makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools")

from exports.catalog import find
from exports.evaluate import detection_dataset, open_dataset
from exports.pictures import draw
from pipelines.errors import ParameterError

NAMES = ("cat", "dog")


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
    dataset = detection_dataset(request.getfixturevalue(kind), NAMES)

    assert dataset is not None
    (truth,) = dataset.truths
    assert truth.size == (100, 200)
    assert truth.class_ids.tolist() == [1]
    np.testing.assert_allclose(truth.boxes, [[20, 10, 60, 40]], atol=1e-4)


def test_pictures_without_labels_are_no_dataset(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")

    assert detection_dataset(tmp_path, NAMES) is None


def test_labels_of_classes_the_model_does_not_know_are_an_error(yolo: Path) -> None:
    with pytest.raises(ParameterError, match="is of a class this model knows"):
        detection_dataset(yolo, ("fish", "bird"))


def test_a_line_that_is_no_label_is_named(yolo: Path) -> None:
    (yolo / "labels" / "a.txt").write_text("1 0.2\n")

    with pytest.raises(ParameterError, match=r"a\.txt holds a line that is no YOLO label"):
        detection_dataset(yolo, NAMES)


def test_one_folder_a_class_is_a_dataset_for_classification(tmp_path: Path) -> None:
    for name in ("3", "7", "unknown"):
        picture(tmp_path / name / "a.png")

    dataset = open_dataset(tmp_path, find("lenet5"))

    assert dataset is not None
    assert dataset.metric == "top-1"
    assert [(path.parent.name, right) for path, right in dataset.labelled] == [("3", 3), ("7", 7)]
