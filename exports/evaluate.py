"""How right a model is on labelled pictures, through the product's own pipeline; pycocotools scores boxes and masks.

What a folder holds is read by `exports.labelled` (COCO, YOLO, VOC: boxes and outlines), by `exports.labelled_maps` (a
class for every pixel) or, for classification, as one folder a class, named as the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from exports.labelled import box_truth, labelled_pictures, mask_truth, pictures_in, upright_size
from exports.labelled_maps import MapTruth, labelled_maps, mean_iou
from exports.pictures import pixels_of, spread
from exports.recipes.accuracy import Labelled, Truth, box_map, top_1_and_5
from exports.recipes.mask_accuracy import MaskTruth, mask_map
from pipelines.card import Task
from pipelines.errors import ParameterError
from pipelines.pipeline import Pipeline, build

MOST = 200  # pictures, evenly spread: enough to see a collapse, few enough to wait for
# COCO's metric counts a hundred detections a picture and looks at the whole curve
_EVERYTHING = {"score": 0.001, "max_detections": 100}

T = TypeVar("T")
Class: TypeAlias = tuple[Path, int]  # a picture and its class
Labels: TypeAlias = tuple[Truth, ...] | tuple[MaskTruth, ...] | tuple[MapTruth, ...] | tuple[Class, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A figure in [0, 1] over so many pictures."""

    metric: str
    value: float
    images: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures of one kind. name: of the folder. metric: "top-1", "box mAP", "mask mAP" or "mIoU"."""

    name: str
    metric: str
    truths: Labels

    def __len__(self) -> int:
        return len(self.truths)


def open_dataset(folder: Path, task: Task, names: Sequence[str], most: int = MOST) -> Dataset | None:
    """Read the labels of a folder for a model's task; None if it holds no labels for it.

    names: the model's classes, index = class id. most: pictures, evenly spread over the folder.
    Raises ParameterError for labels that can't be read, or none of whose classes the model knows.
    """
    if not names:
        return None
    if task == "classify":
        pairs = _class_folders(folder, names)
        return Dataset(folder.name, "top-1", tuple(_spread(pairs, lambda pair: pair[0], most))) if pairs else None
    if task == "segment":
        maps = labelled_maps(folder, names)
        return Dataset(folder.name, "mIoU", tuple(_spread(maps, lambda one: one.path, most))) if maps else None
    if task not in ("detect", "instances"):
        return None
    outlines = task == "instances"
    pictures = labelled_pictures(folder, names, outlines=outlines)
    if pictures is None:
        return None
    pictures = _spread(pictures, lambda one: one.path, most)
    if outlines and not any(one.outline for picture in pictures for one in picture.objects):
        return None
    if not any(picture.objects for picture in pictures):
        raise ParameterError(f"no label of {folder} is of a class this model knows ({', '.join(names[:5])}, …)")
    if outlines:
        return Dataset(folder.name, "mask mAP", tuple(mask_truth(picture) for picture in pictures))
    return Dataset(folder.name, "box mAP", tuple(box_truth(picture) for picture in pictures))


def accuracy(model: Path, dataset: Dataset) -> Accuracy:
    """Measure a model file on labelled pictures: top-1, mIoU, or COCO's mAP (IoU 0.50:0.95) of boxes or masks."""
    measure = _MEASURES[dataset.metric]
    try:
        value = measure(model, dataset.truths)
    except IndexError:  # pycocotools can't read an empty list of results: nothing was found at all
        value = 0.0
    return Accuracy(dataset.metric, max(value, 0.0), len(dataset))


def _pipeline(model: Path, params: dict[str, float] | None = None) -> Pipeline:
    return build(model, params or {}, provider="cpu")


def _top_1(model: Path, truths: Sequence[Class]) -> float:
    pictures = (Labelled(path.name, pixels_of(path), frozenset((right,))) for path, right in truths)
    return top_1_and_5(_pipeline(model, {"top_k": 5}), pictures)[0]


_MEASURES: dict[str, Callable[..., float]] = {
    "top-1": _top_1,
    "box mAP": lambda model, truths: box_map(_pipeline(model, _EVERYTHING), truths)[0],
    "mask mAP": lambda model, truths: mask_map(_pipeline(model, _EVERYTHING), truths)[0],
    "mIoU": lambda model, truths: mean_iou(_pipeline(model), truths),
}


def _spread(pictures: Sequence[T], path: Callable[[T], Path], most: int) -> list[T]:
    kept = set(spread([path(one) for one in pictures], most))
    return [one for one in pictures if path(one) in kept]


def _class_folders(folder: Path, names: Sequence[str]) -> list[Class]:
    ids = {name.lower().replace(" ", "_"): number for number, name in enumerate(names)}
    pairs: list[Class] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        right = ids.get(inner.name.lower().replace(" ", "_"))
        if right is not None:
            pairs += [(path, right) for path in pictures_in(inner) if upright_size(path)]
    return pairs
