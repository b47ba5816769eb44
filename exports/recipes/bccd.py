"""BCCD, annotated blood smears: 205 photographs to train on and 87 to judge by, boxes from Pascal VOC's XML.

Source: github.com/Shenggan/BCCD_Dataset, MIT. The data set's split of 72 for a last test is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from exports.recipes.accuracy import Truth
from exports.recipes.shipping import data_folder
from pipelines.types import Boxes

LABELS = ("RBC", "WBC", "Platelets")  # as the annotations call them
NAMES = ("red cell", "white cell", "platelet")  # as the cards call them, in the same order
SOURCE = "BCCD (Shenggan/BCCD_Dataset), MIT"


@dataclass(frozen=True, slots=True)
class Smear:
    """One annotated smear.

    size: (height, width). boxes: (N, 4) float32, x1 y1 x2 y2 in pixels, inside the picture. labels: N of `LABELS`.
    """

    path: Path
    size: tuple[int, int]
    boxes: Boxes
    labels: tuple[str, ...]


def load(split: Literal["train", "val"], folder: Path | None = None) -> list[Smear]:
    """Read one split, in the order of its list.

    folder: the one that holds `train.txt`, `val.txt`, `images` and `annotations`; `bccd` in the data folder by default.
    A box that is empty after clipping to the picture is left out, as nothing can overlap it.
    Raises FileNotFoundError if the data is not there, ValueError for a label that is none of `LABELS`.
    """
    root = folder or data_folder() / "bccd"
    names = (root / f"{split}.txt").read_text(encoding="utf-8").split()
    return [_read(root / "images" / f"{name}.jpg", root / "annotations" / f"{name}.xml") for name in names]


def truths(smears: Iterable[Smear]) -> Iterator[Truth]:
    """Give the smears as the measurement of accuracy wants them; a class id is the place in `LABELS`."""
    for smear in smears:
        ids = np.array([LABELS.index(label) for label in smear.labels], np.int64)
        yield Truth(smear.path, smear.size, smear.boxes, ids)


def _read(picture: Path, annotation: Path) -> Smear:
    root = ElementTree.parse(annotation).getroot()
    size = root.find("size")
    if size is None:
        raise ValueError(f"{annotation} states no size")
    height, width = (int(size.findtext(side) or 0) for side in ("height", "width"))
    boxes, labels = [], []
    for found in root.iter("object"):
        label, box = found.findtext("name") or "", found.find("bndbox")
        if label not in LABELS or box is None:
            raise ValueError(f"{annotation} holds an object {label!r}: known are {', '.join(LABELS)}, each with a box")
        x1, y1, x2, y2 = (float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
        corners = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if corners[2] > corners[0] and corners[3] > corners[1]:
            boxes.append(corners)
            labels.append(label)
    return Smear(picture, (height, width), np.array(boxes, np.float32).reshape(-1, 4), tuple(labels))
