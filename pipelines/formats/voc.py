"""Pascal VOC: a folder laid out as the VOC 2012 devkit, boxes in XML, masks of instances in PNG.

    VOCdevkit/VOC2012/Annotations/x/a.xml
    VOCdevkit/VOC2012/JPEGImages/x/a.jpg         a link to the picture, whatever its format
    VOCdevkit/VOC2012/ImageSets/Main/train.txt   the names of all pictures; val.txt and trainval.txt say the same

and for instances

    VOCdevkit/VOC2012/SegmentationClass/x/a.png  class id + 1 of every pixel, 0 where nothing is
    VOCdevkit/VOC2012/SegmentationObject/x/a.png which object a pixel is of, in the order of the XML's
    VOCdevkit/VOC2012/ImageSets/Segmentation/    as Main
    classes.csv                                  what the values of SegmentationClass mean

`torchvision.datasets.VOCDetection(folder, year="2012")` reads it, and `VOCSegmentation`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pipelines.formats.placing import claim, legible, link, stems
from pipelines.formats.png import instance_pngs, instance_table

_SETS = ("train", "val", "trainval")


def write_voc(lines: Iterable[Mapping[str, Any]], names: Sequence[str], folder: Path, root: Path) -> bool:
    """Write detections or instances as Pascal VOC.

    lines: what `Result.to_json` gives, one mapping an image, read once. A picture in which nothing was found has a file
        without an object; a failed one has none and is in no set.
    names: the model's class names, by class id.
    folder: an empty folder. root: the folder the images' names are relative to.
    Returns whether all pictures could be linked. Raises OSError if a file can't be written.
    """
    year = folder / "VOCdevkit" / "VOC2012"
    annotations, images, sets = year / "Annotations", year / "JPEGImages", year / "ImageSets" / "Main"
    for place in (annotations, images, sets):
        place.mkdir(parents=True)
    linked, masked = True, False
    with (sets / f"{_SETS[0]}.txt").open("wb") as listing:
        for line in lines:
            if line.get("status") != "ok":
                continue
            image = str(line["image"])
            stem = claim(annotations, stems(image), ".xml", voc_xml(line))
            linked &= link(images / f"{stem}.jpg", root, image)
            listing.write(f"{stem}\n".encode())
            if "instances" in line:
                masked = True
                _write_masks(line, len(names), year, stem)
    for name in _SETS[1:]:
        shutil.copyfile(sets / f"{_SETS[0]}.txt", sets / f"{name}.txt")
    if masked:  # a job's pipeline gives instances for every picture or for none
        shutil.copytree(sets, sets.with_name("Segmentation"))
        (folder / "classes.csv").write_bytes(instance_table(names))
    return linked


def _write_masks(line: Mapping[str, Any], classes: int, year: Path, stem: str) -> None:
    for kind, content in zip(("Class", "Object"), instance_pngs(line, classes), strict=True):
        place = year / f"Segmentation{kind}" / f"{stem}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def voc_xml(line: Mapping[str, Any]) -> bytes:
    """Give the XML for one image.

    Coordinates are the devkit's: whole pixels counted from 1, `xmax` and `ymax` the last pixel inside, so that a box is
    `xmax - xmin + 1` pixels wide and never less than one. `score` is an addition; readers pass over what they don't
    know.
    """
    top = ElementTree.Element("annotation")
    folder, _, name = str(line["image"]).rpartition("/")
    _texts(top, folder=folder, filename=name)
    _texts(
        ElementTree.SubElement(top, "source"), database="Pixelmill", annotation=line.get("model", {}).get("name", "")
    )
    _texts(ElementTree.SubElement(top, "size"), width=line["width"], height=line["height"], depth=3)
    _texts(top, segmented=int("instances" in line))
    for row in (*line.get("detections", ()), *line.get("instances", ())):
        one = ElementTree.SubElement(top, "object")
        _texts(one, name=row["label"], pose="Unspecified", truncated=0, difficult=0, score=row["score"])
        left, right = _first_and_last(row["box"][0], row["box"][2], int(line["width"]))
        upper, lower = _first_and_last(row["box"][1], row["box"][3], int(line["height"]))
        _texts(ElementTree.SubElement(one, "bndbox"), xmin=left, ymin=upper, xmax=right, ymax=lower)
    ElementTree.indent(top, "\t")
    return bytes(ElementTree.tostring(top, encoding="utf-8")) + b"\n"


def _first_and_last(start: float, end: float, size: int) -> tuple[int, int]:
    """The first and the last pixel, counted from 1, between two edges."""
    first = min(max(round(start), 0), size - 1)
    return first + 1, max(first + 1, min(round(end), size))


def _texts(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = legible(str(value))
