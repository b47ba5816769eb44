"""The original R-CNN: boxes proposed, each region through a network, named, moved, suppressed by class.

rcnn                   scores (N, C): margins of one linear SVM a class; deltas (N, 4 C): class-wise box regression
logits, probabilities  a classifier, so that each region gets the most probable of its labels

Girshick, Donahue, Darrell, Malik, CVPR 2014 (arXiv:1311.2524); regression: appendix C. A margin m is no probability;
`decode` of the card holds for each class the (a, b) that make it one, 1 / (1 + exp(−(a m + b))) (Platt 1999), and
`context`, how many times as wide and high as its box a region is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pipelines import classify
from pipelines.card import Card
from pipelines.companions import companion
from pipelines.detect import Candidates, selector
from pipelines.errors import CardError, ParameterError
from pipelines.geometry import Fit
from pipelines.params import DetectParams, RcnnParams
from pipelines.regions import CONTEXT, run_regions
from pipelines.results import Detections
from pipelines.selective import selective_search
from pipelines.types import Boxes, FloatArray, Image, Tensor

if TYPE_CHECKING:
    from pipelines.session import Session

FAMILY = "rcnn"

# what a region's network gave, the regions, the least score → candidates in pixels of the picture
_Judge: TypeAlias = Callable[[Sequence[Tensor], Boxes], Candidates]
_MOST_GROWTH = 4.0  # e^4 = 55 times as wide: beyond that a regression has gone astray, and exp would overflow


def reader(session: Session, params: RcnnParams) -> Callable[[Sequence[Tensor], Fit, Image | None], Detections]:
    """Build the function that finds the objects of a picture; the outputs for the picture as a whole are not used.

    Raises CardError for a family it does not know, an incomplete `decode`, or outputs that do not fit the class names;
    ParameterError for ImageNet's labels from an R-CNN, which knows its own classes only.
    """
    card = session.card
    if card.family == FAMILY and params.labels == "imagenet":
        raise ParameterError(
            f"model {card.name!r} knows its own {len(card.names)} classes: labels of ImageNet come from a classifier, "
            "leave --model away or choose one of `pixelmill models --task classify`"
        )
    judge = _rcnn(session, params.score) if card.family == FAMILY else _classifier(card, params.score)
    context = _context(card) if card.family == FAMILY else CONTEXT
    propose = _proposer(session, params)
    suppression = DetectParams(
        score=params.score, iou=params.iou, max_detections=params.max_detections, classes=params.classes
    )
    choose = selector(card, suppression, suppressed=False)

    def read(outputs: Sequence[Tensor], fit: Fit, pixels: Image | None) -> Detections:
        if pixels is None or pixels.shape[:2] != fit.size:
            raise ValueError("R-CNN cuts its regions out of the picture itself, at its own size")
        regions = propose(pixels)
        if not len(regions):
            return Detections(regions, np.zeros(0, np.float32), np.zeros(0, np.int64), ())
        candidates = judge(run_regions(pixels, regions, card.input, session.run, context), regions)
        height, width = fit.size
        inside = np.clip(candidates.boxes, 0, np.array([width, height, width, height], np.float32))
        found = choose(Candidates(inside, candidates.scores, candidates.class_ids, candidates.rows))
        return Detections(found.boxes, found.scores, found.class_ids, tuple(card.names[i] for i in found.class_ids))

    return read


def moved(regions: Boxes, deltas: FloatArray) -> Boxes:
    """Move and stretch regions as box regression says (appendix C, equations 1 to 4).

    regions: (N, 4) float32, x1 y1 x2 y2. deltas: (N, 4) float32: shift of the centre in widths and heights of the
    region, logarithm of the change of width and height. Returns (N, 4) float32.
    """
    sides = regions[:, 2:] - regions[:, :2]
    centres = regions[:, :2] + sides / 2 + deltas[:, :2] * sides
    half = sides * np.exp(np.clip(deltas[:, 2:], -_MOST_GROWTH, _MOST_GROWTH)) / 2
    return np.concatenate([centres - half, centres + half], axis=1, dtype=np.float32)


def _rcnn(session: Session, least: float) -> _Judge:
    card = session.card
    classes = len(card.names)
    try:
        platt = np.array(card.decode["platt"], np.float64).reshape(classes, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(
            f"model {card.name!r} has an incomplete `decode`: platt must hold (a, b) for each of {classes} classes"
        ) from error
    if len(session.outputs) != 2:
        raise CardError(f"model {card.name!r} of family 'rcnn' must have the outputs scores and deltas")

    def judge(outputs: Sequence[Tensor], regions: Boxes) -> Candidates:
        margins, deltas = outputs[0], outputs[1]
        if margins.shape[1] != classes or deltas.shape[1] != 4 * classes:
            raise ValueError(
                f"{classes} classes need {classes} scores and {4 * classes} deltas a region, the network gives "
                f"{margins.shape[1]} and {deltas.shape[1]}: its card is another model's"
            )
        scores = 1 / (1 + np.exp(-np.clip(platt[:, 0] * margins + platt[:, 1], -60, 60)))
        rows, class_ids = np.nonzero(scores >= least)
        boxes = moved(regions[rows], deltas.reshape(-1, classes, 4)[rows, class_ids])
        return Candidates(boxes, scores[rows, class_ids].astype(np.float32), class_ids.astype(np.int64), rows)

    return judge


def _classifier(card: Card, least: float) -> _Judge:
    if card.family not in classify.FAMILIES:
        known = ", ".join((FAMILY, *classify.FAMILIES))
        raise CardError(f"model {card.name!r} is of family {card.family!r}: rcnn reads {known}")

    def judge(outputs: Sequence[Tensor], regions: Boxes) -> Candidates:
        values = outputs[0].reshape(len(regions), -1).astype(np.float32)
        shares = np.stack([classify.softmax(row) for row in values]) if card.family == "logits" else values
        class_ids = shares.argmax(axis=1)
        best = np.take_along_axis(shares, class_ids[:, None], axis=1)[:, 0]
        rows = np.flatnonzero(best >= least)
        return Candidates(regions[rows], best[rows], class_ids[rows].astype(np.int64), rows)

    return judge


def _context(card: Card) -> float:
    context = card.decode.get("context")
    if not isinstance(context, int | float) or not 1 <= context <= 4:
        raise CardError(
            f"model {card.name!r} has a wrong `decode`: context must be a number from 1 to 4, is {context!r}"
        )
    return float(context)


def _proposer(session: Session, params: RcnnParams) -> Callable[[Image], Boxes]:
    """What proposes regions: selective search, or the shipped detector, whose own labels are dropped."""
    proposer = companion(session.card, params)
    if proposer is None:
        return lambda pixels: selective_search(pixels, params.strategy, params.proposals)

    from pipelines.catalog import find_model
    from pipelines.pipeline import build

    detector = build(
        find_model(proposer),
        {"max_detections": params.proposals},
        provider="auto" if session.on_gpu else "cpu",
    )

    def propose(pixels: Image) -> Boxes:
        result = detector(pixels)
        if not isinstance(result.found, Detections):
            raise TypeError(f"the detector gave {result.error}, not boxes")
        sides = result.found.boxes[:, 2:] - result.found.boxes[:, :2]
        return result.found.boxes[(sides >= 1).all(axis=1)]

    return propose
