"""Masks for the boxes a detector found: each box is cut out with some surroundings and given to a mask head.

box-masks  (N, 1, h, w) probabilities of being the object the box is around, over cut-outs (Pinheiro et al. 2015)

The head knows no classes; they come from the detector, which `decode` of the head's card names, with `context`: how
many times as wide and high as its box a cut-out is. So two networks run for one picture: the detector once, the head
once a box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np

from pipelines import detect
from pipelines.budget import check_boxes
from pipelines.card import Provider
from pipelines.catalog import find_model
from pipelines.enlarge import sample, taps
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.instances import placed, reached
from pipelines.masks import PlacedMask
from pipelines.params import DetectParams, InstancesParams
from pipelines.results import Instances
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Boxes, FloatArray, Image, Tensor

FAMILY = "box-masks"

Rectangle: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels; may reach beyond the picture

_OUTSIDE = (127, 127, 127)  # what lies beyond the picture: the mean the backbone was trained with
_TOGETHER = 8  # cut-outs in one run


class Paired(Session):
    """A detector's session that stands for both networks: its input and outputs, the head's card and checksum."""

    def __init__(
        self, head: Session, provider: Provider = "auto", *, allow_fallback: bool = False, threads: int = 1
    ) -> None:
        """Load the detector that goes with a head.

        Raises CardError if the head's `decode` names none or its model finds no boxes, and what `Session` and
        `find_model` do.
        """
        name, context = head.card.decode.get("detector"), head.card.decode.get("context")
        if not isinstance(name, str) or not isinstance(context, int | float) or not 1 <= context <= 4:
            raise CardError(
                f"model {head.card.name!r} has a wrong `decode`: detector must name a model, it is {name!r}, and "
                f"context be a number from 1 to 4, it is {context!r}"
            )
        super().__init__(find_model(name), provider, allow_fallback=allow_fallback, threads=threads)
        self.detector = self.card
        if self.detector.task != "detect" or self.detector.names != head.card.names:
            raise CardError(
                f"model {head.card.name!r} needs the detector {name!r} with its own class names, but that model is for "
                f"{self.detector.task!r} and knows {len(self.detector.names)} classes: put the one it came with back"
            )
        self.head, self.context = head, float(context)
        self.card = head.card.model_copy(update={"input": self.detector.input, "outputs": self.outputs})
        self.path, self.checksum = head.path, head.checksum


def reader(
    session: Paired, params: InstancesParams, limits: Limits | None = None
) -> Callable[[Sequence[Tensor], Fit, Image | None], Instances]:
    """Build the function that turns the detector's outputs and the picture into objects with masks.

    Raises CardError as `detect.reader`.
    """
    given = DetectParams(
        score=params.score, iou=params.iou, max_detections=params.max_detections, classes=params.classes
    )
    find = detect.reader(session.detector, given)

    def read(outputs: Sequence[Tensor], fit: Fit, pixels: Image | None) -> Instances:
        if pixels is None or pixels.shape[:2] != fit.size:
            raise ValueError("masks around boxes need the picture itself, at its own size")
        found = find(outputs, fit)
        check_boxes(found.boxes, limits or Limits())
        masks = tuple(fill(session.head, session.context, pixels, found.boxes, params.mask_threshold))
        return Instances(found.boxes, found.scores, found.class_ids, found.names, masks, fit.size)

    return read


def fill(head: Session, context: float, pixels: Image, boxes: Boxes, least: float = 0.5) -> Iterator[PlacedMask]:
    """Find the pixels of the object in each box.

    pixels: (H, W, 3) uint8 RGB. boxes: (N, 4) float32, x1 y1 x2 y2 in pixels. least: probability of a pixel.
    Gives N masks in order; a mask may reach a little beyond its box.
    """
    spec = head.card.input
    height, width = pixels.shape[:2]
    workspace = Workspace()
    for start in range(0, len(boxes), _TOGETHER):
        rectangles = [surroundings(box, context) for box in boxes[start : start + _TOGETHER]]
        cut = [cut_out(pixels, rectangle, spec.height) for rectangle in rectangles]
        tensor = np.concatenate([to_tensor(one, spec, workspace).copy() for one in cut])
        for cells, (left, top, right, bottom) in zip(head.run(tensor)[0][:, 0], rectangles, strict=True):
            tall, wide = (count / span for count, span in zip(cells.shape, (bottom - top, right - left), strict=True))
            rows = taps(max(0, top), min(bottom, height), tall, -top * tall, 0, cells.shape[0] - 1)
            columns = taps(max(0, left), min(right, width), wide, -left * wide, 0, cells.shape[1] - 1)
            yield placed(reached(partial(sample, cells), rows, columns, least), max(0, left), max(0, top))


def surroundings(box: FloatArray, context: float) -> Rectangle:
    """The rectangle of whole pixels around a box that the head sees.

    box: (4,) float32, x1 y1 x2 y2 in pixels. context: how many times as wide and high as the box.
    """
    left, top, right, bottom = (float(value) for value in box)
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    half_x, half_y = max((right - left) * context / 2, 1.0), max((bottom - top) * context / 2, 1.0)
    return (
        int(np.floor(middle_x - half_x)),
        int(np.floor(middle_y - half_y)),
        int(np.ceil(middle_x + half_x)),
        int(np.ceil(middle_y + half_y)),
    )


def cut_out(pixels: Image, rectangle: Rectangle, side: int) -> Image:
    """Cut a rectangle out of a picture and bring it to side × side, whatever its aspect.

    pixels: (H, W, 3) uint8 RGB. Returns (side, side, 3) uint8; grey where the rectangle leaves the picture.
    """
    left, top, right, bottom = rectangle
    height, width = pixels.shape[:2]
    inside = pixels[max(0, top) : max(0, min(bottom, height)), max(0, left) : max(0, min(right, width))]
    beyond = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    if any(beyond):
        inside = np.asarray(cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT, value=_OUTSIDE), np.uint8)
    shrinking = (right - left) * (bottom - top) > side * side
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (side, side), interpolation=how), np.uint8)
