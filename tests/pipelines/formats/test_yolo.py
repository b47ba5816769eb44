"""YOLO's text files, as Ultralytics' own data set loader reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from pipelines.formats.yolo import write_yolo, yolo_text
from pipelines.masks import PlacedMask
from pipelines.results import Instances
from tests.pipelines.formats.made_lines import (
    HEIGHT,
    NAMES,
    WIDTH,
    detections,
    disc,
    instances,
    line,
    picture,
    rectangle,
    ring,
)

BOXES = detections((2, 0.9, (20, 30, 120, 90)), (0, 0.5, (0, 0, 200, 120)), (1, 0.25, (199.5, 119.5, 200, 120)))
MASKS = [disc(60, 60, 25), ring(100, 60, 40, 30), disc(30, 30, 12) | disc(150, 90, 20), rectangle(10, 20, 90, 70)]
OBJECTS = instances(*((n % len(NAMES), 0.9 - n / 10, mask) for n, mask in enumerate(MASKS)))
# one folder is called images, which Ultralytics would take for its own; two pictures differ in their suffix alone
PLACES = ["a.jpg", "a.png", "images/größe 日本.jpg", "caf\udce9.jpg", "images/nothing.jpg"]


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    for one in lines:
        picture(folder / "photos" / one["image"])
    out = folder / "yolo"
    out.mkdir()
    assert write_yolo([*lines, line("broken.jpg", None)], NAMES, out, folder / "photos")
    return out


def loaded(out: Path, task: str) -> dict[str, dict[str, Any]]:
    """What Ultralytics' loader finds, by the picture's name below `images`."""
    pytest.importorskip("ultralytics")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    read = YOLODataset(img_path=data["train"], data=data, task=task, augment=False, imgsz=64)
    return {str(Path(one["im_file"]).relative_to(out / "images")): one for one in read.labels}


def test_ultralytics_reads_boxes_and_backgrounds_under_every_name(tmp_path: Path) -> None:
    out = written(tmp_path, *(line(name, BOXES) for name in PLACES[:4]), line(PLACES[4], detections()))

    found = loaded(out, "detect")

    (odd,) = (name for name in found if name.startswith("caf_~"))
    assert set(found) == {"a.jpg", "a.png.png", "images_/größe 日本.jpg", odd, "images_/nothing.jpg"}
    for name in set(found) - {"images_/nothing.jpg"}:
        by_class = np.argsort(found[name]["cls"].ravel())
        boxes = found[name]["bboxes"][by_class]
        assert found[name]["cls"].ravel()[by_class].tolist() == [0, 1, 2]
        assert np.allclose(boxes[:, :2] * (WIDTH, HEIGHT), [[100, 60], [199.75, 119.75], [70, 60]], atol=0.01)
        assert np.allclose(boxes[:, 2:] * (WIDTH, HEIGHT), [[200, 120], [0.5, 0.5], [100, 60]], atol=0.01)
        assert found[name]["shape"] == (HEIGHT, WIDTH)
    assert found["images_/nothing.jpg"]["cls"].size == 0


def test_ultralytics_reads_outlines_that_fill_to_the_masks(tmp_path: Path) -> None:
    found = loaded(written(tmp_path, line("a.jpg", OBJECTS)), "segment")["a.jpg"]

    assert found["cls"].ravel().tolist() == [0, 1, 2, 0]
    for outline, mask in zip(found["segments"], MASKS, strict=True):
        larger = 8  # times, so that half a pixel of OpenCV's does not count
        points = np.rint(outline * (WIDTH * larger, HEIGHT * larger)).astype(np.int32)
        filled = np.zeros((HEIGHT * larger, WIDTH * larger), np.uint8)
        cv2.fillPoly(filled, [points], 1)
        expected = cv2.resize(mask.astype(np.uint8), filled.shape[::-1], interpolation=cv2.INTER_NEAREST)
        assert (filled & expected).sum() / (filled | expected).sum() > 0.95


def test_nothing_found_in_any_picture_is_a_data_set_of_backgrounds(tmp_path: Path) -> None:
    found = loaded(written(tmp_path, line("a.jpg", instances()), line("b.jpg", instances())), "segment")

    assert [one["cls"].size for one in found.values()] == [0, 0]


@pytest.mark.parametrize("names", [NAMES, ("yes", "no"), ("a: b", 'c "d"'), ("1", "~"), ("é\ud800", "# x")])
def test_class_names_survive_as_they_are_whatever_yaml_makes_of_such_words(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert write_yolo([], names, tmp_path, tmp_path)

    data = yaml.safe_load((tmp_path / "data.yaml").read_bytes())

    expected = [name.replace("\ud800", "\ufffd") for name in names]
    assert list(data["names"].values()) == expected
    assert (tmp_path / "classes.txt").read_text("utf-8").splitlines() == expected


def test_an_object_without_any_pixel_has_no_line() -> None:
    one = detections((0, 0.5, (10, 20, 30, 40)))
    nowhere = PlacedMask(0, 0, np.zeros((0, 0), bool))

    assert yolo_text(line("a", Instances(one.boxes, one.scores, one.class_ids, one.names, (nowhere,), (9, 9)))) == ""
