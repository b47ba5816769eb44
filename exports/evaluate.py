"""How right a model is on labelled pictures, through the product's own pipeline; boxes are scored by pycocotools.

A folder is understood by what lies in it:

- COCO: a `.json` with `images`, `annotations` and `categories`, in the folder or in `annotations/`
- YOLO: `images/` and `labels/` (or `boxes/`) with one `.txt` a picture, class names in a `.yaml`
- VOC:  one `.xml` a picture in `Annotations/` or `annotations/`, pictures in `JPEGImages/` or `images/`
- one folder a class, named as the class, for classification

Classes are matched by name; a class of the labels that the model does not know is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from exports.catalog.entry import Entry
from exports.libraries import library
from exports.pictures import SUFFIXES, pixels_of, spread
from exports.recipes.accuracy import Labelled, Truth, box_map, top_1_and_5
from pipelines.errors import ImageError, ParameterError
from pipelines.image import probe, read_bytes
from pipelines.pipeline import build

MOST = 200  # pictures, evenly spread: enough to see a collapse, few enough to wait for
_FEW_DETECTIONS = 100  # a picture, as COCO's metric counts them
_LEAST_SCORE = 0.001  # COCO's metric looks at the whole curve


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A figure in [0, 1] over so many pictures."""

    metric: str
    value: float
    images: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures. name: of the folder. Exactly one of truths and labelled is not empty."""

    name: str
    metric: str
    truths: tuple[Truth, ...] = ()
    labelled: tuple[tuple[Path, int], ...] = ()

    def __len__(self) -> int:
        return len(self.truths) or len(self.labelled)


def open_dataset(folder: Path, entry: Entry) -> Dataset | None:
    """Read the labels of a folder for a network's task; None if it holds no labels for it.

    Raises ParameterError for labels that can't be read, or none of whose classes the network knows.
    """
    names = entry.facts().names
    if entry.task == "classify" and entry.family in ("logits", "probabilities"):
        return _class_folders(folder, names)
    if entry.task == "detect":
        return detection_dataset(folder, names)
    return None


def detection_dataset(folder: Path, names: Sequence[str], most: int = MOST) -> Dataset | None:
    """Read boxes from a COCO, YOLO or VOC folder; None if it is none of these.

    names: the model's classes, index = class id. Errors as `open_dataset`.
    """
    for read in (_coco, _yolo, _voc):
        truths = read(folder, {name: number for number, name in enumerate(names)})
        if truths is None:
            continue
        chosen = tuple(_spread(truths, most))
        if not any(len(truth.boxes) for truth in chosen):
            raise ParameterError(f"no label of {folder} is of a class this model knows ({', '.join(names[:5])}, …)")
        return Dataset(folder.name, "box mAP", chosen)
    return None


def accuracy(model: Path, dataset: Dataset) -> Accuracy:
    """Measure a model file on labelled pictures: box mAP (COCO's, IoU 0.50:0.95) or top-1."""
    if dataset.truths:
        pipeline = build(model, {"score": _LEAST_SCORE, "max_detections": _FEW_DETECTIONS}, provider="cpu")
        try:
            value = box_map(pipeline, dataset.truths)[0]
        except IndexError:  # pycocotools can't read an empty list of results: nothing was found at all
            value = 0.0
        return Accuracy(dataset.metric, max(value, 0.0), len(dataset))
    pipeline = build(model, {"top_k": 5}, provider="cpu")
    pictures = (Labelled(path.name, pixels_of(path), frozenset((right,))) for path, right in dataset.labelled)
    return Accuracy(dataset.metric, top_1_and_5(pipeline, pictures)[0], len(dataset))


def _spread(truths: Sequence[Truth], most: int) -> Iterator[Truth]:
    kept = set(spread([truth.path for truth in truths], most))
    return (truth for truth in truths if truth.path in kept)


def _class_folders(folder: Path, names: Sequence[str]) -> Dataset | None:
    ids = {name.lower().replace(" ", "_"): number for number, name in enumerate(names)}
    pairs: list[tuple[Path, int]] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        right = ids.get(inner.name.lower().replace(" ", "_"))
        if right is not None:
            files = sorted(path for path in inner.iterdir() if path.suffix.lower() in SUFFIXES)
            pairs += [(path, right) for path in files if _size(path)]
    if not pairs:
        return None
    kept = set(spread([path for path, _ in pairs], MOST))
    return Dataset(folder.name, "top-1", labelled=tuple(pair for pair in pairs if pair[0] in kept))


def _coco(folder: Path, ids: Mapping[str, int]) -> list[Truth] | None:
    for file in (*sorted(folder.glob("*.json")), *sorted((folder / "annotations").glob("*.json"))):
        content = _json(file)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            return list(_coco_truths(folder, file, content, ids))
    return None


def _coco_truths(folder: Path, file: Path, content: dict[str, Any], ids: Mapping[str, int]) -> Iterator[Truth]:
    classes = {c["id"]: ids.get(c["name"]) for c in content["categories"]}
    boxes: dict[Any, list[list[float]]] = {}
    numbers: dict[Any, list[int]] = {}
    for one in content["annotations"]:
        number = classes.get(one["category_id"])
        if number is None or one.get("iscrowd"):
            continue
        x, y, w, h = one["bbox"]
        boxes.setdefault(one["image_id"], []).append([x, y, x + w, y + h])
        numbers.setdefault(one["image_id"], []).append(number)
    for image in content["images"]:
        path = next((p for p in _places(folder, image["file_name"]) if p.is_file()), None)
        if path is not None and (size := _size(path)):
            yield _truth(path, size, boxes.get(image["id"], []), numbers.get(image["id"], []))


def _places(folder: Path, name: str) -> Iterable[Path]:
    return (folder / name, folder / "images" / name, folder / "images" / Path(name).name)


def _yolo(folder: Path, ids: Mapping[str, int]) -> list[Truth] | None:
    labels = next((folder / name for name in ("labels", "boxes") if (folder / name).is_dir()), None)
    described = next((f for f in sorted(folder.glob("*.y*ml")) if _names(f)), None)
    if labels is None or described is None or not (folder / "images").is_dir():
        return None
    named = next((f for f in sorted(folder.glob("*.y*ml")) if f.stem in ("data", "detection") and _names(f)), described)
    classes = {number: ids.get(name) for number, name in _names(named).items()}
    truths = []
    for path in sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in SUFFIXES):
        text = labels / f"{path.stem}.txt"
        size = _size(path)
        if not size:
            continue
        boxes, numbers = [], []
        for line in text.read_text().splitlines() if text.is_file() else []:
            fields = line.split()
            if len(fields) < 5:
                raise ParameterError(f"{text} holds a line that is no YOLO label (class cx cy w h): {line[:60]!r}")
            number = classes.get(int(fields[0]))
            if number is not None:
                cx, cy, w, h = (float(v) for v in fields[1:5])
                tall, wide = size
                boxes.append([(cx - w / 2) * wide, (cy - h / 2) * tall, (cx + w / 2) * wide, (cy + h / 2) * tall])
                numbers.append(number)
        truths.append(_truth(path, size, boxes, numbers))
    return truths


def _voc(folder: Path, ids: Mapping[str, int]) -> list[Truth] | None:
    notes = next((folder / name for name in ("Annotations", "annotations") if (folder / name).is_dir()), None)
    images = next((folder / name for name in ("JPEGImages", "images") if (folder / name).is_dir()), None)
    if notes is None or images is None or not any(notes.glob("*.xml")):
        return None
    truths = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES):
        file = notes / f"{path.stem}.xml"
        size = _size(path)
        if not file.is_file() or not size:
            continue
        try:
            root = ElementTree.parse(file).getroot()  # noqa: S314 - expat expands no external entities
        except ElementTree.ParseError as error:
            raise ParameterError(f"{file} is no XML: {error}") from error
        boxes, numbers = [], []
        for found in root.iter("object"):
            number = ids.get(found.findtext("name") or "")
            box = found.find("bndbox")
            if number is not None and box is not None:
                boxes.append([float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax")])
                numbers.append(number)
        truths.append(_truth(path, size, boxes, numbers))
    return truths


def _truth(path: Path, size: tuple[int, int], boxes: list[list[float]], numbers: list[int]) -> Truth:
    return Truth(path, size, np.array(boxes, np.float32).reshape(-1, 4), np.array(numbers, np.int64))


def _size(path: Path) -> tuple[int, int] | None:
    """Upright (height, width) from the header; None for what can't be read, which then is left out."""
    try:
        return probe(read_bytes(path)).upright
    except ImageError:
        return None


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
