"""Folders of labelled pictures: whose objects have boxes, and perhaps outlines.

- COCO: a `.json` with `images`, `annotations` and `categories`, in the folder or in `annotations/`; outlines are
  polygons or run lengths
- YOLO: `images/` and `labels/` (or `boxes/`, `polygons/`) with one `.txt` a picture, class names in a `.yaml`; a line
  is `class cx cy w h`, or for outlines `class x y x y x y …`
- VOC:  one `.xml` a picture in `Annotations/` or `annotations/`, pictures in `JPEGImages/` or `images/`; boxes only

Classes are matched by name; an object of a class that the model does not know is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

import numpy as np

from exports.libraries import library
from exports.pictures import SUFFIXES
from exports.recipes.accuracy import Truth
from exports.recipes.mask_accuracy import MaskTruth
from pipelines.errors import ImageError, ParameterError
from pipelines.image import probe, read_bytes
from pipelines.masks import PlacedMask

Ids: TypeAlias = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Marked:
    """An object of a picture.

    box: x1 y1 x2 y2 in pixels. outline: COCO's `segmentation` in pixels, polygons or run lengths; None if it has none.
    """

    class_id: int
    box: tuple[float, float, float, float]
    outline: Any = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A labelled picture. size: upright (height, width)."""

    path: Path
    size: tuple[int, int]
    objects: tuple[Marked, ...]


def labelled_pictures(folder: Path, names: Sequence[str], *, outlines: bool = False) -> list[Picture] | None:
    """Read a COCO, YOLO or VOC folder; None if it is none of these.

    names: the model's classes, index = class id. outlines: prefer YOLO labels with outlines over those with boxes.
    Raises ParameterError for labels that can't be read.
    """
    ids = {name: number for number, name in enumerate(names)}
    ways: tuple[Callable[[], list[Picture] | None], ...] = (
        lambda: _coco(folder, ids),
        lambda: _yolo(folder, ids, outlines),
        lambda: _voc(folder, ids),
    )
    return next((found for way in ways if (found := way()) is not None), None)


def box_truth(picture: Picture) -> Truth:
    """A picture's boxes, as the measurement of detectors wants them."""
    boxes = np.array([one.box for one in picture.objects], np.float32).reshape(-1, 4)
    return Truth(picture.path, picture.size, boxes, np.array([one.class_id for one in picture.objects], np.int64))


def mask_truth(picture: Picture) -> MaskTruth:
    """A picture's outlined objects as masks, drawn by pycocotools; objects without an outline are left out."""
    outlined = [one for one in picture.objects if one.outline]
    masks = tuple(_mask(one.outline, picture) for one in outlined)
    return MaskTruth(picture.path, picture.size, masks, np.array([one.class_id for one in outlined], np.int64))


def class_names(folder: Path, preferred: Sequence[str]) -> dict[int, str]:
    """Class names from a `.yaml` beside the labels, the first that is called as preferred, else any; {} without one."""
    described = {file.stem: names for file in sorted(folder.glob("*.y*ml")) if (names := _names(file))}
    return next((described[stem] for stem in (*preferred, *described) if stem in described), {})


def upright_size(path: Path) -> tuple[int, int] | None:
    """Upright (height, width) from the header; None for what can't be read, which then is left out."""
    try:
        return probe(read_bytes(path)).upright
    except ImageError:
        return None


def pictures_in(folder: Path) -> Iterator[Path]:
    """The picture files of one folder, sorted."""
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _mask(outline: Any, picture: Picture) -> PlacedMask:
    tools = library("pycocotools.mask")
    height, width = picture.size
    try:
        if isinstance(outline, list):  # the polygons of one object
            return PlacedMask.from_rle(tools.merge(tools.frPyObjects(outline, height, width)))
        return PlacedMask.from_rle(outline)
    except Exception as error:  # pycocotools raises what it likes, PlacedMask ValueError
        raise ParameterError(f"the labels of {picture.path} hold an outline that is none: {error}") from error


def _coco(folder: Path, ids: Ids) -> list[Picture] | None:
    for file in (*sorted(folder.glob("*.json")), *sorted((folder / "annotations").glob("*.json"))):
        content = _json(file)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            return list(_coco_pictures(folder, content, ids))
    return None


def _coco_pictures(folder: Path, content: dict[str, Any], ids: Ids) -> Iterator[Picture]:
    classes = {category["id"]: ids.get(category["name"]) for category in content["categories"]}
    objects: dict[Any, list[Marked]] = {}
    for one in content["annotations"]:
        number = classes.get(one["category_id"])
        if number is None or one.get("iscrowd"):
            continue
        x, y, w, h = one["bbox"]
        objects.setdefault(one["image_id"], []).append(
            Marked(number, (x, y, x + w, y + h), one.get("segmentation") or None)
        )
    for image in content["images"]:
        path = next((place for place in _places(folder, image["file_name"]) if place.is_file()), None)
        if path is not None and (size := upright_size(path)):
            yield Picture(path, size, tuple(objects.get(image["id"], ())))


def _places(folder: Path, name: str) -> Iterable[Path]:
    return (folder / name, folder / "images" / name, folder / "images" / Path(name).name)


def _yolo(folder: Path, ids: Ids, outlines: bool) -> list[Picture] | None:
    places = ("polygons", "labels", "boxes") if outlines else ("labels", "boxes", "polygons")
    labels = next((folder / name for name in places if (folder / name).is_dir()), None)
    names = class_names(folder, ("data", "instance" if labels and labels.name == "polygons" else "detection"))
    if labels is None or not names or not (folder / "images").is_dir():
        return None
    classes = {number: ids.get(name) for number, name in names.items()}
    pictures = []
    for path in pictures_in(folder / "images"):
        text, size = labels / f"{path.stem}.txt", upright_size(path)
        if size and (text.is_file() or labels.name != "polygons"):  # a picture without outlines was not outlined
            lines = text.read_text(encoding="utf-8").splitlines() if text.is_file() else []
            found = (_yolo_object(text, line, size, classes) for line in lines if line.strip())
            pictures.append(Picture(path, size, tuple(one for one in found if one is not None)))
    return pictures


def _yolo_object(text: Path, line: str, size: tuple[int, int], classes: Mapping[int, int | None]) -> Marked | None:
    """One line of shares of the picture: a box of 4, or an outline of 6 or more."""
    try:
        first, *rest = line.split()
        number, shares = classes.get(int(first)), [float(share) for share in rest]
    except ValueError:
        number, shares = None, []
    if len(shares) < 4 or len(shares) % 2:
        raise ParameterError(
            f"{text} holds a line that is no YOLO label (class cx cy w h, or class x y x y …): {line[:60]!r}"
        )
    if number is None:
        return None
    height, width = size
    if len(shares) == 4:
        cx, cy, w, h = shares
        box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        return Marked(number, box)
    xs, ys = [x * width for x in shares[::2]], [y * height for y in shares[1::2]]
    points = [value for point in zip(xs, ys, strict=True) for value in point]
    return Marked(number, (min(xs), min(ys), max(xs), max(ys)), [points])


def _voc(folder: Path, ids: Ids) -> list[Picture] | None:
    notes = next((folder / name for name in ("Annotations", "annotations") if (folder / name).is_dir()), None)
    images = next((folder / name for name in ("JPEGImages", "images") if (folder / name).is_dir()), None)
    if notes is None or images is None or not any(notes.glob("*.xml")):
        return None
    pictures = []
    for path in pictures_in(images):
        file, size = notes / f"{path.stem}.xml", upright_size(path)
        if not file.is_file() or not size:
            continue
        try:
            root = ElementTree.parse(file).getroot()  # noqa: S314 - expat expands no external entities
        except ElementTree.ParseError as error:
            raise ParameterError(f"{file} is no XML: {error}") from error
        objects = []
        for found in root.iter("object"):
            number, box = ids.get(found.findtext("name") or ""), found.find("bndbox")
            if number is not None and box is not None:
                x1, y1, x2, y2 = (float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
                objects.append(Marked(number, (x1, y1, x2, y2)))
        pictures.append(Picture(path, size, tuple(objects)))
    return pictures


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParameterError(f"{file} is no JSON: {error}") from error


def _names(file: Path) -> dict[int, str]:
    loaded = library("yaml").safe_load(file.read_text(encoding="utf-8"))
    names = loaded.get("names") if isinstance(loaded, dict) else None
    if isinstance(names, list):
        return dict(enumerate(str(name) for name in names))
    return {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) else {}
