"""Pascal VOC, as torchvision's data sets read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from pipelines.formats.voc import voc_xml, write_voc
from pipelines.palette import colour_of
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
)

PLACES = ["a.jpg", "a.png", "sub/größe 日本.jpg", "caf\udce9.jpg"]


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    for one in lines:
        picture(folder / "photos" / one["image"])
    out = folder / "voc"
    out.mkdir()
    assert write_voc([*lines, line("broken.jpg", None)], NAMES, out, folder / "photos")
    return out


def detection_set(out: Path) -> Any:
    return pytest.importorskip("torchvision.datasets").VOCDetection(str(out), year="2012", image_set="trainval")


def test_torchvision_reads_names_boxes_and_pictures(tmp_path: Path) -> None:
    found = detections((2, 0.9, (20, 30, 120, 90)), (0, 0.5, (0, 0, 200, 120)))
    read = detection_set(written(tmp_path, *(line(name, found) for name in PLACES)))

    assert len(read) == 4
    for pixels, target in read:
        annotation = target["annotation"]
        assert pixels.size == (WIDTH, HEIGHT)
        assert annotation["size"] == {"width": "200", "height": "120", "depth": "3"}
        assert [one["name"] for one in annotation["object"]] == ["größe 日本", "cat"]
        # the devkit counts pixels from 1 and names the last one inside
        assert annotation["object"][0]["bndbox"] == {"xmin": "21", "ymin": "31", "xmax": "120", "ymax": "90"}
        assert annotation["object"][1]["bndbox"] == {"xmin": "1", "ymin": "1", "xmax": "200", "ymax": "120"}
    assert [target["annotation"]["filename"] for _, target in read] == [
        "a.jpg",
        "a.png",
        "größe 日本.jpg",
        "caf\ufffd.jpg",
    ]


def test_one_object_and_none_are_lists_too(tmp_path: Path) -> None:
    read = detection_set(
        written(tmp_path, line("a.jpg", detections((1, 0.5, (1, 2, 3, 4)))), line("b.jpg", detections()))
    )

    assert [len(target["annotation"]["object"]) for _, target in read] == [1, 0]


def test_torchvision_reads_the_masks_of_instances(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    found = instances((2, 0.9, disc(60, 60, 30)), (0, 0.5, rectangle(50, 50, 150, 100)))
    out = written(tmp_path, line("a.jpg", found), line("sub/a.jpg", instances()))

    read = datasets.VOCSegmentation(str(out), year="2012", image_set="train")

    expected = np.where(disc(60, 60, 30), 3, np.where(rectangle(50, 50, 150, 100), 1, 0))
    assert np.array_equal(np.array(read[0][1]), expected)
    assert not np.array(read[1][1]).any()
    assert [target["annotation"]["segmented"] for _, target in detection_set(out)] == ["1", "1"]
    assert (out / "classes.csv").read_text("utf-8").splitlines()[1:3] == [
        "0,,0,0,0",
        "1,cat,{},{},{}".format(*colour_of(0)),
    ]


def test_boxes_alone_have_no_masks(tmp_path: Path) -> None:
    out = written(tmp_path, line("a.jpg", detections((0, 0.5, (1, 2, 3, 4)))))

    assert not (out / "classes.csv").exists()
    assert sorted(path.name for path in (out / "VOCdevkit/VOC2012").iterdir()) == [
        "Annotations", "ImageSets", "JPEGImages",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 0.2, 0.2), (1, 1, 1, 1)),
        ((199.9, 119.9, 200, 120), (200, 120, 200, 120)),
        ((10.4, 10.6, 20.4, 20.6), (11, 12, 20, 21)),
    ],
)
def test_a_box_is_at_least_a_pixel_and_inside_the_picture(box: tuple[float, ...], expected: tuple[int, ...]) -> None:
    top = ElementTree.fromstring(voc_xml(line("a.jpg", detections((0, 0.5, box)))))  # type: ignore[arg-type]

    assert (
        tuple(int(top.findtext(f"object/bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")) == expected
    )


def test_a_name_that_xml_can_not_hold_is_still_valid_xml() -> None:
    top = ElementTree.fromstring(voc_xml(line("x&<y>/caf\udce9\x01 & co.jpg", detections())))

    assert top.findtext("filename") == "caf\ufffd\ufffd & co.jpg"
    assert top.findtext("folder") == "x&<y>"
