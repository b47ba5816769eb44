"""Photographs of people with the pixels they cover, from polygons, and how much of that a cut-out hits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipelines.image import probe
from pipelines.results import Found, RenderedPicture
from pipelines.types import Mask

PERSON = "1"  # COCO's category id, as the polygons' files have it


@dataclass(frozen=True, slots=True)
class Person:
    """A photograph and which of its pixels are person: mask (H, W) bool."""

    photo: Path
    mask: Mask


def people(folder: Path, least_share: float) -> list[Person]:
    """Find the photographs of which people cover at least this share.

    folder: holds `images` (JPEG) and `polygons` (a line a polygon: category, x y x y … as shares of the picture), each
    perhaps in folders below.
    """
    polygons = {path.stem: path for path in sorted((folder / "polygons").rglob("*.txt"))}
    found = []
    for photo in sorted((folder / "images").rglob("*.jpg")):
        if photo.stem not in polygons:
            continue
        mask = _filled(polygons[photo.stem], probe(photo.read_bytes()).upright)
        if mask.mean() >= least_share:
            found.append(Person(photo, mask))
    return found


def without_people(folder: Path) -> list[Path]:
    """Find the photographs without a person's box. folder: holds `images` and `boxes` (YOLO txt, class 0 is person)."""
    boxes = {path.stem: path.read_text() for path in sorted((folder / "boxes").rglob("*.txt"))}
    photos = sorted((folder / "images").rglob("*.jpg"))
    return [photo for photo in photos if all(line.split()[0] != "0" for line in boxes.get(photo.stem, "").splitlines())]


def _filled(path: Path, size: tuple[int, int]) -> Mask:
    height, width = size
    mask = np.zeros(size, np.uint8)
    for line in path.read_text().splitlines():
        category, *numbers = line.split()
        if category == PERSON:
            corners = np.array(numbers, np.float64).reshape(-1, 2) * (width, height)
            cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1)
    return mask > 0


def person_iou(found: Found | None, truth: Mask) -> float:
    """Intersection over union of a cut-out, its alpha cut at one half, with the truth.

    found: what `portrait` gave with the effect `cutout`; nobody found counts as an empty cut-out.
    """
    if not isinstance(found, RenderedPicture) or found.pixels.shape[2] != 4:
        raise TypeError(f"a cut-out has four channels, this is {type(found).__name__}")
    nobody = not found.facts["person_share"]
    mine = np.zeros_like(truth) if nobody else found.pixels[..., 3] > 127
    union = int((mine | truth).sum())
    return int((mine & truth).sum()) / union if union else 1.0
