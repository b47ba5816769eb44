"""Read a detector's raw output, whatever its family, into boxes in the picture.

ssd                    box offsets against anchors, class logits (Liu et al. 2016); decoded in `ssd`
yolo                   (4 + C, N): centre, size in network pixels, class scores (YOLOv8, YOLO11)
yolo-end2end           (N, 6): corners, score, class; no suppression needed (YOLO26)
yolox                  (N, 5 + C): raw head against a grid, objectness × class score (Ge et al. 2021)
torchvision-detection  three outputs boxes (N, 4), labels (N,), scores (N,): already suppressed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from pipelines import ssd
from pipelines.card import Card
from pipelines.errors import CardError
from pipelines.geometry import Fit, nms
from pipelines.params import DetectParams
from pipelines.results import Detections
from pipelines.types import Boxes, ClassIds, FloatArray, Scores, Tensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a family gives before suppression.

    boxes: (N, 4) float32 in network pixels. scores: (N,) float32. class_ids: (N,) int64.
    rows: (N,) int64, where in the raw output each one stands.
    """

    boxes: Boxes
    scores: Scores
    class_ids: ClassIds
    rows: ClassIds

    def __getitem__(self, chosen: ClassIds) -> Candidates:
        return Candidates(self.boxes[chosen], self.scores[chosen], self.class_ids[chosen], self.rows[chosen])


Decoder: TypeAlias = Callable[[Sequence[Tensor], Fit, float], Candidates]

# Suppression is quadratic: a threshold near zero would let thousands of hopeless boxes in (8400 for YOLO at 640).
MAX_CANDIDATES = 3000


def reader(card: Card, params: DetectParams) -> Callable[[Sequence[Tensor], Fit], Detections]:
    """Build the function that turns one picture's outputs into detections in the picture's own pixels.

    Raises CardError for a family no detector has, or if `card.decode` lacks what the family needs.
    """
    decode = _decoder(card)
    suppressed = card.family in ("yolo-end2end", "torchvision-detection")
    choose = selector(card, params, suppressed=suppressed)
    names = card.names

    def read(outputs: Sequence[Tensor], fit: Fit) -> Detections:
        found = choose(decode(outputs, fit, params.score))
        ids = found.class_ids
        return Detections(fit.to_picture(found.boxes), found.scores, ids, tuple(names[i] for i in ids))

    return read


def selector(card: Card, params: DetectParams, *, suppressed: bool) -> Callable[[Candidates], Candidates]:
    """Build the function that keeps the wanted classes and the best of overlapping boxes, highest score first.

    suppressed: whether the network has done that itself, so that only the weakest beyond the limit go.
    What it returns raises ValueError for a class the card has no name for.
    """
    wanted = np.array([card.names.index(name) for name in params.classes], np.int64)

    def choose(found: Candidates) -> Candidates:
        highest = int(found.class_ids.max(initial=-1))
        if highest >= len(card.names):
            raise ValueError(f"class {highest} was found, the card has {len(card.names)} class names")
        if wanted.size:
            found = found[np.flatnonzero(np.isin(found.class_ids, wanted))]
        best = np.argsort(-found.scores, kind="stable")
        if suppressed:
            return found[best[: params.max_detections]]
        found = found[best[:MAX_CANDIDATES]]
        return found[nms(found.boxes, found.scores, found.class_ids, params.iou, params.max_detections)]

    return choose


def _decoder(card: Card) -> Decoder:
    try:
        if card.family == "ssd":
            anchors = ssd.anchors(card.decode)
            scales = tuple(float(s) for s in card.decode["box_scales"])
            return lambda outputs, fit, least: _ssd(outputs, fit, least, anchors, scales)
        if card.family == "yolo":
            return lambda outputs, fit, least: yolo(outputs[0], len(card.names), least)
        if card.family == "yolo-end2end":
            return lambda outputs, fit, least: yolo_end_to_end(outputs[0], least)
        if card.family == "yolox":
            strides = tuple(int(s) for s in card.decode["strides"])
            return lambda outputs, fit, least: _yolox(outputs, fit, least, strides)
        if card.family == "torchvision-detection":
            offset = int(card.decode.get("label_offset", 1))
            return lambda outputs, fit, least: torchvision(outputs, least, offset)
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(f"model {card.name!r} of family {card.family!r} has an incomplete `decode`: {error}") from error
    known = "ssd, yolo, yolo-end2end, yolox, torchvision-detection"
    raise CardError(f"model {card.name!r} is of family {card.family!r}: detect reads {known}")


def _best_class(scores: FloatArray, least: float) -> tuple[ClassIds, ClassIds, Scores]:
    """Pick rows whose best class reaches `least`: (rows, class ids, scores). scores: (N, C) float32."""
    class_ids = scores.argmax(axis=1)
    best = np.take_along_axis(scores, class_ids[:, None], axis=1)[:, 0]
    rows = np.flatnonzero(best >= least)
    return rows, class_ids[rows].astype(np.int64), best[rows].astype(np.float32)


def _corners(centres: FloatArray, sizes: FloatArray) -> Boxes:
    half = sizes / 2
    return np.concatenate([centres - half, centres + half], axis=1, dtype=np.float32)


def _ssd(
    outputs: Sequence[Tensor], fit: Fit, least: float, anchors: FloatArray, scales: tuple[float, ...]
) -> Candidates:
    encodings, logits = outputs[0].reshape(-1, 4), outputs[1].reshape(len(anchors), -1)
    # the sigmoid keeps the order, so it is taken only of what passes: the threshold is moved to the logits instead
    least_logit = -np.inf if least <= 0 else np.inf if least >= 1 else float(np.log(least / (1 - least)))
    rows, class_ids, best = _best_class(logits, least_logit)
    scores = (1 / (1 + np.exp(-best))).astype(np.float32)
    height, width = fit.padded
    boxes = ssd.decode_boxes(encodings[rows], anchors[rows], scales)
    return Candidates(boxes * np.array([width, height, width, height], np.float32), scores, class_ids, rows)


def yolo(output: Tensor, classes: int, least: float) -> Candidates:
    """Read a YOLO head that still has to be suppressed.

    output: (4 + C + more, N), with or without a batch axis of one. least: the least score of a candidate.
    """
    fields = output.reshape(output.shape[-2:])[: 4 + classes]
    best = fields[4:].max(axis=0)
    columns = np.flatnonzero(best >= least)
    picked = fields[:, columns].T.astype(np.float32)
    class_ids = picked[:, 4:].argmax(axis=1).astype(np.int64)
    return Candidates(_corners(picked[:, :2], picked[:, 2:4]), best[columns].astype(np.float32), class_ids, columns)


def yolo_end_to_end(output: Tensor, least: float) -> Candidates:
    """Read a YOLO head that has picked its boxes itself. output: (N, 6 + more), as `yolo` otherwise."""
    fields = output.reshape(-1, output.shape[-1])
    rows = np.flatnonzero(fields[:, 4] >= least)
    picked = fields[rows].astype(np.float32)
    return Candidates(picked[:, :4], picked[:, 4], picked[:, 5].astype(np.int64), rows)


def _yolox(outputs: Sequence[Tensor], fit: Fit, least: float, strides: tuple[int, ...]) -> Candidates:
    raw = outputs[0].reshape(-1, outputs[0].shape[-1])  # (N, 5 + C)
    grid, stride = _grid(fit.padded, strides)
    rows, class_ids, scores = _best_class(raw[:, 5:] * raw[:, 4:5], least)
    centres = (raw[rows, :2] + grid[rows]) * stride[rows]
    return Candidates(_corners(centres, np.exp(raw[rows, 2:4]) * stride[rows]), scores, class_ids, rows)


@lru_cache(maxsize=32)
def _grid(padded: tuple[int, int], strides: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Cell corners (N, 2) and strides (N, 1) of every level, rows first, as YOLOX orders its outputs."""
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[0 : padded[0] // stride, 0 : padded[1] // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32))
        steps.append(np.full((x.size, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(steps)


def torchvision(outputs: Sequence[Tensor], least: float, offset: int) -> Candidates:
    """Read a torchvision detector: boxes (N, 4), labels (N,), scores (N,), whatever follows.

    offset: the label of class 0; those below it are background.
    """
    boxes, labels, scores = outputs[0].reshape(-1, 4), outputs[1].reshape(-1), outputs[2].reshape(-1)
    rows = np.flatnonzero((scores >= least) & (labels >= offset))
    return Candidates(
        boxes[rows].astype(np.float32), scores[rows].astype(np.float32), labels[rows].astype(np.int64) - offset, rows
    )
