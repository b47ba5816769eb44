"""LabelMe's JSON, by the rules its own loader has (`_label_file.py` of LabelMe 6.3.1, which refuses anything else).

LabelMe itself is a program with windows, too much to install for a test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.formats.labelme import labelme_json, write_labelme
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

BOXES = detections((2, 0.9, (20, 30, 120, 90)), (0, 0.5, (0, 0, 200, 120)))
MASKS = [disc(60, 60, 25), ring(60, 60, 40, 30), disc(30, 30, 12) | disc(150, 90, 20), rectangle(10, 20, 90, 70)]
OBJECTS = instances(*((n % len(NAMES), 0.9 - n / 10, mask) for n, mask in enumerate(MASKS)))


def opened(path: Path) -> dict[str, Any]:
    """Read a document as LabelMe does, and hold it to what that asks."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert document["imageData"] is None
    with Image.open(path.parent / document["imagePath"]) as shown:
        assert shown.size == (document["imageWidth"], document["imageHeight"])
    for shape in document["shapes"]:
        assert isinstance(shape["label"], str)
        assert shape["shape_type"] in ("rectangle", "polygon")
        assert len(shape["points"]) >= (3 if shape["shape_type"] == "polygon" else 2)
        assert all(len(point) == 2 and all(isinstance(v, int | float) for v in point) for point in shape["points"])
        assert shape["flags"] == {}
        assert shape["mask"] is None
        assert shape["group_id"] is None or isinstance(shape["group_id"], int)
        assert isinstance(shape["description"], str)
    return document


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    for one in lines:
        picture(folder / "photos" / one["image"])
    out = folder / "results" / "labelme"
    out.mkdir(parents=True)
    assert write_labelme([*lines, line("broken.jpg", None)], NAMES, out, folder / "photos")
    return out


def test_boxes_are_rectangles_and_each_document_leads_to_its_picture(tmp_path: Path) -> None:
    out = written(tmp_path, line("a.jpg", BOXES), line("a.png", BOXES), line("sub/größe 日本.jpg", detections()))

    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.json")) == [
        "a.json", "a.png.json", "sub/größe 日本.json",
    ]  # fmt: skip
    shapes = opened(out / "a.json")["shapes"]
    assert [(s["label"], s["shape_type"], s["score"]) for s in shapes] == [
        ("größe 日本", "rectangle", 0.9), ("cat", "rectangle", 0.5),
    ]  # fmt: skip
    assert shapes[0]["points"] == [[20, 30], [120, 90]]
    assert opened(out / "a.png.json")["imagePath"].endswith("photos/a.png")
    assert opened(out / "sub/größe 日本.json")["shapes"] == []
    assert (out / "labels.txt").read_text("utf-8").splitlines() == list(NAMES)


def test_each_picture_lies_beside_its_document_under_the_same_name(tmp_path: Path) -> None:
    out = written(tmp_path, *(line(name, BOXES) for name in ("a.jpg", "a.png", "sub/größe 日本.jpg")))

    pictures = [path for path in out.rglob("*") if path.suffix in (".jpg", ".png")]

    assert sorted(path.name for path in pictures) == ["a.jpg", "a.png.png", "größe 日本.jpg"]
    for path in pictures:
        assert path.with_suffix(".json").is_file()
        assert path.resolve() == (path.parent / opened(path.with_suffix(".json"))["imagePath"]).resolve()


def test_polygons_fill_to_the_masks_and_the_parts_of_one_object_are_a_group(tmp_path: Path) -> None:
    shapes = opened(written(tmp_path, line("a.jpg", OBJECTS)) / "a.json")["shapes"]

    assert [shape["group_id"] for shape in shapes] == [None, None, 3, 3, None]
    parts = [[0], [1], [2, 3], [4]]
    for mask, indices in zip(MASKS, parts, strict=True):
        drawn = Image.new("1", (WIDTH * 8, HEIGHT * 8))  # enlarged, so that Pillow's own half pixel does not count
        for index in indices:
            points = [(x * 8, y * 8) for x, y in shapes[index]["points"]]
            ImageDraw.Draw(drawn).polygon(points, fill=1)
        filled, expected = np.array(drawn), mask.repeat(8, axis=0).repeat(8, axis=1)
        assert (filled & expected).sum() / (filled | expected).sum() > 0.95


def test_an_object_without_any_pixel_is_its_box() -> None:
    one = detections((0, 0.5, (10, 20, 30, 40)))
    nowhere = PlacedMask(0, 0, np.zeros((0, 0), bool))
    found = Instances(one.boxes, one.scores, one.class_ids, one.names, (nowhere,), (HEIGHT, WIDTH))

    (shape,) = labelme_json(line("a.jpg", found), "a.jpg")["shapes"]

    assert (shape["shape_type"], shape["points"]) == ("rectangle", [[10, 20], [30, 40]])


@pytest.mark.parametrize("name", ["caf\udce9.jpg", 'a"b\\c.jpg'])
def test_a_picture_with_an_odd_name_is_found(tmp_path: Path, name: str) -> None:
    out = written(tmp_path, line(name, BOXES))

    (path,) = out.glob("*.json")
    assert len(opened(path)["shapes"]) == 2
