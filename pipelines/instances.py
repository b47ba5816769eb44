"""Read an instance segmenter's outputs: boxes as `detect` reads them, and the pixels each object covers.

torchvision-instances  boxes, labels, scores and masks: with `decode.masks` "boxes" (N, 1, m, m) probabilities over each
                       box (He et al. 2017), else (N, 1, H, W) laid over the network's input, as torchvision's own
                       exports give them
yolo-seg               as yolo with k coefficients after the classes, (4 + C + k, N), or with `decode.end2end` as
                       yolo-end2end, (N, 6 + k); and prototypes (k, h, w) over the network's input: a mask's logits are
                       their weighted sum (Bolya et al. 2019)

A mask is computed at the picture's own pixels, in its own box alone and a band of rows at a time: a hundred objects in
12 megapixels take the memory of what they cover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np

from pipelines.budget import check_boxes
from pipelines.card import Card
from pipelines.detect import Candidates, selector, torchvision, yolo, yolo_end_to_end
from pipelines.enlarge import Taps, picture_taps, sample, sample_sum, taps
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.masks import PlacedMask
from pipelines.params import InstancesParams
from pipelines.results import Instances
from pipelines.types import Boxes, FloatArray, Mask, Tensor

FAMILIES = ("torchvision-instances", "yolo-seg")
_BAND = 1 << 20  # pixels computed at once

Decoder: TypeAlias = Callable[[Sequence[Tensor], float], Candidates]
# Outputs, the objects that were kept, how the picture lay, the least probability → a mask an object.
Masker: TypeAlias = Callable[[Sequence[Tensor], Candidates, Fit, float], tuple[PlacedMask, ...]]


def reader(
    card: Card, params: InstancesParams, limits: Limits | None = None
) -> Callable[[Sequence[Tensor], Fit], Instances]:
    """Build the function that turns one picture's outputs into objects with masks in the picture's own pixels.

    Raises CardError for a family that is no instance segmenter's, or a `decode` that can't be read.
    """
    names = card.names
    decode, masks, suppressed = _family(card)
    choose = selector(card, params, suppressed=suppressed)

    def read(outputs: Sequence[Tensor], fit: Fit) -> Instances:
        found = choose(decode(outputs, params.score))
        ids = found.class_ids
        boxes = fit.to_picture(found.boxes)
        check_boxes(boxes, limits or Limits())
        return Instances(
            boxes,
            found.scores,
            ids,
            tuple(names[i] for i in ids),
            masks(outputs, found, fit, params.mask_threshold),
            fit.size,
        )

    return read


def _family(card: Card) -> tuple[Decoder, Masker, bool]:
    """How boxes and masks of this card's family are read, and whether the network has suppressed doubles itself."""
    classes = len(card.names)
    if card.family == "yolo-seg":
        if card.decode.get("end2end"):
            return lambda outputs, least: yolo_end_to_end(outputs[0], least), _of_picked, True
        return (
            lambda outputs, least: yolo(outputs[0], classes, least),
            lambda outputs, found, fit, least: _from_prototypes(
                outputs[0].reshape(outputs[0].shape[-2:])[4 + classes :, found.rows].T, outputs[1], found, fit, least
            ),
            False,
        )
    if card.family == "torchvision-instances":
        offset, laid_over = card.decode.get("label_offset", 1), card.decode.get("masks", "picture")
        if not isinstance(offset, int) or laid_over not in _LAID_OVER:
            raise CardError(
                f"model {card.name!r} has a wrong `decode`: label_offset must be a whole number, it is {offset!r}, and "
                f"masks 'boxes' or 'picture', it is {laid_over!r}"
            )
        return lambda outputs, least: torchvision(outputs, least, offset), _LAID_OVER[laid_over], True
    raise CardError(f"model {card.name!r} is of family {card.family!r}: instances reads {', '.join(FAMILIES)}")


def _of_picked(outputs: Sequence[Tensor], found: Candidates, fit: Fit, least: float) -> tuple[PlacedMask, ...]:
    return _from_prototypes(outputs[0].reshape(outputs[0].shape[-2:])[found.rows, 6:], outputs[1], found, fit, least)


def _from_prototypes(
    coefficients: Tensor, prototypes: Tensor, found: Candidates, fit: Fit, least: float
) -> tuple[PlacedMask, ...]:
    """Masks as weighted sums of prototypes, cut off at their boxes.

    coefficients: (N, k). prototypes: (k, h, w).
    """
    height, width = prototypes.shape[-2:]
    cells = prototypes.reshape(-1, height, width)
    if coefficients.shape[1] != len(cells):
        raise ValueError(
            f"{coefficients.shape[1]} numbers a box follow what the card describes, there are {len(cells)} prototypes: "
            "its class names or decode.end2end don't fit"
        )
    least_logit = float(np.log(least / (1 - least)))
    all_rows, all_columns = picture_taps(fit, (height, width), (0, 0), fit.size)
    masks = []
    # a pixel belongs to the box whose edges lie at x1 ≤ x < x2, as Ultralytics cuts
    for weights, box in zip(coefficients, np.ceil(fit.to_picture(found.boxes)).astype(int).tolist(), strict=True):
        x1, y1, x2, y2 = box
        if x2 <= x1 or y2 <= y1:
            masks.append(placed(np.zeros((0, 0), np.bool_), 0, 0))
            continue
        logits = partial(sample_sum, weights, cells)
        masks.append(placed(reached(logits, all_rows.part(y1, y2), all_columns.part(x1, x2), least_logit), x1, y1))
    return tuple(masks)


def _over_boxes(outputs: Sequence[Tensor], found: Candidates, fit: Fit, least: float) -> tuple[PlacedMask, ...]:
    """Masks of probabilities over each box, laid into the picture exactly as torchvision lays them."""
    maps = outputs[3][found.rows, 0]
    side = maps.shape[-1]
    rings = np.pad(maps, ((0, 0), (1, 1), (1, 1)))  # a ring of zeros, so that a mask ends softly at its box
    boxes = _grown(fit.to_picture(found.boxes, clip=False), (side + 2) / side).astype(np.int64)
    height, width = fit.size
    masks = []
    for ring, (x1, y1, x2, y2) in zip(rings, boxes.tolist(), strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2 + 1, width), min(y2 + 1, height)
        rows = taps(top - y1, bottom - y1, (side + 2) / max(1, y2 - y1 + 1), 0, 0, side + 1)
        columns = taps(left - x1, right - x1, (side + 2) / max(1, x2 - x1 + 1), 0, 0, side + 1)
        masks.append(placed(reached(partial(sample, ring), rows, columns, least), left, top))
    return tuple(masks)


def _over_picture(outputs: Sequence[Tensor], found: Candidates, fit: Fit, least: float) -> tuple[PlacedMask, ...]:
    """Masks of probabilities that lie over the whole input of the network already."""
    maps = outputs[3]
    height, width = fit.size
    masks = []
    # torchvision's masks reach beyond their boxes by half of one of their 28 cells
    boxes = _grown(fit.to_picture(found.boxes, clip=False), 1 + 2 / 28)
    for row, (x1, y1, x2, y2) in zip(found.rows.tolist(), boxes.tolist(), strict=True):
        left, top = max(0, int(x1) - 1), max(0, int(y1) - 1)
        right, bottom = min(width, int(x2) + 2), min(height, int(y2) + 2)
        rows, columns = picture_taps(fit, (maps.shape[2], maps.shape[3]), (top, left), (bottom, right))
        masks.append(placed(reached(partial(sample, maps[row, 0]), rows, columns, least), left, top))
    return tuple(masks)


_LAID_OVER: dict[str, Masker] = {"boxes": _over_boxes, "picture": _over_picture}


def _grown(boxes: Boxes, factor: float) -> Boxes:
    """Boxes made larger around their centres. boxes: (N, 4) float32."""
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32(factor)
    centres = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    return np.concatenate([centres - half, centres + half], axis=1)


def reached(read: Callable[[Taps, Taps], FloatArray], rows: Taps, columns: Taps, least: float) -> Mask:
    """Tell which pixels reach `least`.

    read: gives the values of pixels, as `sample` does of a map. Returns (rows, columns) bool.
    """
    height, width = rows.count, columns.count
    band = max(1, _BAND // max(1, width))
    if height <= band:
        return np.greater_equal(read(rows, columns), least)
    reached = np.empty((height, width), np.bool_)
    for top in range(0, height, band):
        np.greater_equal(read(rows.part(top, top + band), columns), least, out=reached[top : top + band])
    return reached


def placed(mask: Mask, x: int, y: int) -> PlacedMask:
    """Place a mask of a rectangle whose corner lies at x, y, cut down to what it covers."""
    if mask.size == 0:
        return PlacedMask(0, 0, np.zeros((0, 0), np.bool_))
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    covered = mask[top : top + height, left : left + width]
    # a copy, so that nothing holds on to what was cut off
    return PlacedMask(x + left, y + top, covered if covered.size == mask.size else covered.copy())
