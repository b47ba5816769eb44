"""A closer look at each person: a detector finds them, and the matte network sees one at a time, large.

A matte network was made for one person before a camera. Of a whole photograph it says of nearly everything near the
camera that it is a person (it takes a cat for one with probability 1), and small persons it misses. So its card may
name a detector (`decode.detector`) that knows the class `person`: where that finds nobody there is nobody, and what it
finds the network sees in a cut-out of its own. docs/decisions/0012-persons-first.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from pipelines import detect
from pipelines.catalog import find_model
from pipelines.errors import CardError
from pipelines.geometry import Fit, fit, plan_fit
from pipelines.matte import settle
from pipelines.matte_sources import PERSON, PERSON_SCORE, over_picture
from pipelines.params import DetectParams
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Boxes, FloatArray, Image, Tensor

_AROUND = 1.4  # times as wide and high as its box is what the network sees of a person; 1.15 to 1.6 measured alike
_ISLET = 0.1  # of the largest group of cells that is seen in one look: smaller groups are no part of the person
_MOST = 12  # persons that are looked at, the surest first: each takes a run of the network

# (H, W, 3) uint8 RGB → (h, w) float32 in [0, 1] over the whole picture, or None where nobody is found.
Look: TypeAlias = Callable[[Image], FloatArray | None]


def closer_look(session: Session) -> Look | None:
    """Load the detector that goes with a matte network and build the function that looks at each person it finds.

    None for a model that is no matte network, or whose card names no detector. The detector runs where the matte
    network does. Raises CardError if the card's `decode` names something that finds no persons, and what `Session` and
    `find_model` do.
    """
    name = session.card.decode.get("detector")
    if session.card.family != "matte" or name is None:  # others know the class themselves
        return None
    if not isinstance(name, str):
        raise CardError(f"model {session.card.name!r} has a wrong `decode`: detector must name a model, it is {name!r}")
    detector = Session(find_model(name), "auto" if session.on_gpu else "cpu")
    card = detector.card
    if card.task != "detect" or PERSON not in card.names:
        raise CardError(
            f"model {session.card.name!r} wants the detector {name!r} to look for persons, but that is a model for "
            f"{card.task!r} without such a class: put the one it came with back, or choose --no-confirm"
        )
    read = detect.reader(card, DetectParams(score=PERSON_SCORE, classes=(PERSON,), max_detections=_MOST))

    def look(pixels: Image) -> FloatArray | None:
        plan, outputs = _run(detector, pixels)
        boxes = read(outputs, plan).boxes
        return each(session, pixels, boxes) if len(boxes) else None

    return look


def each(session: Session, pixels: Image, boxes: Boxes) -> FloatArray:
    """Look at what is in each box, and lay all of it into one grid.

    pixels: (H, W, 3) uint8 RGB. boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
    Returns (h, w) float32 in [0, 1] over the whole picture, as fine as the network sees it.
    """
    spec = session.card.input
    height, width = pixels.shape[:2]
    scale = min(1.0, max(spec.height, spec.width) / max(height, width))  # from pixels to cells
    whole = np.zeros((max(1, round(height * scale)), max(1, round(width * scale))), np.float32)
    for box in boxes:
        rows = _span(box[1], box[3], height, whole.shape[0])
        columns = _span(box[0], box[2], width, whole.shape[1])
        top, bottom = (round(cell * height / whole.shape[0]) for cell in (rows.start, rows.stop))
        left, right = (round(cell * width / whole.shape[1]) for cell in (columns.start, columns.stop))
        plan, outputs = _run(session, pixels[top:bottom, left:right])
        seen = over_picture(outputs[0].reshape(1, *outputs[0].shape[-2:]), plan, None)[0]
        seen = settle(seen, _ISLET)  # others have a look of their own
        place = whole[rows, columns]
        how = cv2.INTER_AREA if place.shape[0] < seen.shape[0] else cv2.INTER_LINEAR
        np.maximum(place, cv2.resize(seen, place.shape[::-1], interpolation=how), out=place)
    return whole


def _span(low: float, high: float, pixels: int, cells: int) -> slice:
    """Which cells of an axis a box and what is around it cover, at least one."""
    middle, half = (low + high) / 2, (high - low) / 2 * _AROUND
    first = min(cells - 1, max(0, math.floor((middle - half) * cells / pixels)))
    return slice(first, max(first + 1, min(cells, math.ceil((middle + half) * cells / pixels))))


def _run(session: Session, pixels: Image) -> tuple[Fit, list[Tensor]]:
    """Run a network on a picture. Returns how it lay in the input, and the outputs without a batch axis."""
    spec = session.card.input
    plan = plan_fit(pixels.shape[:2], spec)
    canvas = np.empty((*plan.padded, 3), np.uint8)
    outputs = session.run(to_tensor(fit(pixels, plan, spec.resize, canvas), spec, Workspace()))
    return plan, outputs if spec.layout == "CHW" else [output[0] for output in outputs]
