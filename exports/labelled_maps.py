"""Folders of pictures with a class for every pixel: pictures in one folder, PNGs of class numbers in another.

Pictures lie in `images/` or `JPEGImages/`; maps, one PNG of the same name each, in `masks/`, `semantic/`,
`SegmentationClass/` (Pascal VOC) or `labels/`. A map has one channel, grey or with a palette, whose values are class
numbers; 255 is nobody's. What the numbers mean says a `.yaml` with `names`; without one those of `SegmentationClass/`
are Pascal VOC's, and all others the model's own.

Classes are matched by name. A class of the labels that the model does not know counts as its background, as
torchvision's segmenters are trained (a sofa is no background, a lamp is); a model without a background is not judged
there. Nobody's pixels and those called unlabelled are not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from exports.labelled import class_names, pictures_in, upright_size
from exports.libraries import library, torch
from exports.pictures import PICTURE_FOLDERS
from pipelines.errors import ParameterError
from pipelines.pipeline import Pipeline
from pipelines.results import SemanticMask

UNJUDGED = 255
_MAPS = ("masks", "semantic", "SegmentationClass", "labels")
_NOBODYS = frozenset(("unlabeled", "unlabelled", "void", "ignore"))
# Pascal VOC's classes, as its development kit lists them, and what COCO calls the same things
VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_ALSO = {
    "__background__": "background",
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@dataclass(frozen=True, slots=True)
class MapTruth:
    """A picture and the class of each of its pixels.

    file: the map. meaning: (256,) uint8, the model's class id of each number in it, `UNJUDGED` for those left out.
    """

    path: Path
    size: tuple[int, int]
    file: Path
    meaning: NDArray[np.uint8]

    def class_map(self) -> NDArray[np.uint8]:
        """(H, W) uint8 class ids of the model, `UNJUDGED` where nobody judges. Raises ParameterError."""
        try:
            with Pillow.open(self.file) as opened:
                mode, numbers = opened.mode, np.asarray(opened)
        except OSError as error:
            raise ParameterError(f"class map {self.file} can't be read: {error}") from error
        if mode not in ("L", "P", "1"):
            raise ParameterError(
                f"class map {self.file} has pixels of kind {mode}: one number of 8 bits each was expected, grey or "
                "with a palette"
            )
        if numbers.shape != self.size:
            raise ParameterError(f"class map {self.file} has {numbers.shape} pixels, its picture {self.size}")
        found: NDArray[np.uint8] = self.meaning[numbers.astype(np.uint8)]
        return found


def labelled_maps(folder: Path, names: Sequence[str]) -> list[MapTruth] | None:
    """Find the pictures of a folder that have a class map; None if there are none.

    names: the model's classes, index = class id.
    """
    images = next((folder / name for name in PICTURE_FOLDERS if (folder / name).is_dir()), None)
    maps = next((folder / name for name in _MAPS if any((folder / name).glob("*.png"))), None)
    if images is None or maps is None:
        return None
    described = class_names(folder, ("data", "semantic"))
    if not described:
        described = dict(enumerate(VOC if maps.name == "SegmentationClass" else names))
    meaning = _meaning(described, names)
    found = []
    for path in pictures_in(images):
        file = maps / f"{path.stem}.png"
        if file.is_file() and (size := upright_size(path)):
            found.append(MapTruth(path, size, file, meaning))
    return found or None


def mean_iou(segment: Pipeline, truths: Iterable[MapTruth]) -> float:
    """Measure the mean over classes of intersection over union, all pixels of all pictures together.

    Ultralytics' metric counts; classes that no picture holds are left out of its mean.
    Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", 2015, section 4.1.4.
    """
    metrics = library("ultralytics.utils.metrics").SemanticMetrics(dict(enumerate(segment.card.names)))
    from_numpy, truths = torch().from_numpy, list(truths)
    for result, truth in zip(segment.map(truth.path for truth in truths), truths, strict=True):
        if not isinstance(result.found, SemanticMask):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not a class map")
        found, right = (map_[None].astype(np.int64) for map_ in (result.found.class_map, truth.class_map()))
        metrics.update_stats(from_numpy(found), from_numpy(right))  # which leaves out 255, our `UNJUDGED`
    metrics.process()
    return float(metrics.miou)


def _meaning(described: dict[int, str], names: Sequence[str]) -> NDArray[np.uint8]:
    known = {_plain(name): number for number, name in enumerate(names)}
    rest = known.get("background", UNJUDGED)
    meaning = np.full(256, UNJUDGED, np.uint8)
    for number, name in described.items():
        if 0 <= number < UNJUDGED and name.lower() not in _NOBODYS:
            meaning[number] = known.get(_plain(name), rest)
    return meaning


def _plain(name: str) -> str:
    return _ALSO.get(name.lower(), name.lower())
