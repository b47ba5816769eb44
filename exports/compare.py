"""Compare what two implementations of one network gave for the same pictures.

Detections are matched by label and overlap, never by index: equal scores may come in any order, and suppression may
keep either of two equally good boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from exports.errors import ParityError
from exports.gates import Kind
from exports.ways import Seen
from pipelines.card import Card
from pipelines.geometry import iou
from pipelines.masks import PlacedMask
from pipelines.results import Detections, Instances, RenderedPicture, SemanticMask
from pipelines.types import Tensor

MATCH_IOU = 0.5  # what counts as the same place; COCO's most lenient threshold
_SAME_PLACE = 1.0  # pixels every corner may be off where overlap says nothing

_KINDS: Mapping[str, Kind] = {
    "logits": "labels",
    "probabilities": "labels",
    "dcgan-judge": "vectors",
    "semantic-logits": "semantic",
    "box-masks": "vectors",
    "torchvision-instances": "objects",
    "yolo-seg": "objects",
    "dcgan": "picture",
    "transformer": "picture",
    "embedding": "vectors",
    "pyramid": "vectors",
}


T = TypeVar("T", Detections, Instances, SemanticMask, RenderedPicture)
Objects: TypeAlias = Detections | Instances


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where detections begin to count, and how close to it a score may be on one side only.

    A detection within `margin` of the threshold that the other side lacks is no disagreement: it fell either way.
    most: detections a picture can have.
    """

    score: float
    margin: float = 0.0
    most: int = 300


def kind_of(card: Card) -> Kind:
    """How outputs of this card's family are compared."""
    return _KINDS.get(card.family, "objects")


def compare(card: Card, pairs: Iterable[tuple[Seen, Seen]], threshold: Threshold) -> dict[str, Any]:
    """Compare reference and export over some pictures, figure by figure.

    pairs: (reference, exported) of each picture.
    Returns the figures that `exports.gates` knows, and counts. Largest differences are over everything compared.
    """
    kind = kind_of(card)
    pairs = list(pairs)
    if kind == "labels":
        return _labels(pairs)
    if kind == "objects":
        return _objects(pairs, threshold)
    if kind == "semantic":
        return _semantic(pairs)
    if kind == "picture":
        return _pictures(pairs)
    return _vectors(pairs)


def objects_of(seen: Seen) -> Objects:
    """What the pipeline found in a picture. Raises ParityError if its family finds no objects."""
    return _found(Detections, seen) if isinstance(seen.found, Detections) else _found(Instances, seen)


def _largest(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Largest difference and largest magnitude of `a`; infinite where shapes differ or a value is no number."""
    if a.shape != b.shape:
        return float("inf"), 1.0
    if a.size == 0:
        return 0.0, 1.0
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else float("inf"), float(np.abs(a).max())


def _labels(pairs: Sequence[tuple[Seen, Seen]]) -> dict[str, Any]:
    differences = [_largest(a.outputs[0], b.outputs[0]) for a, b in pairs]
    same = [int(a.outputs[0].argmax()) == int(b.outputs[0].argmax()) for a, b in pairs]
    return {
        "pictures": len(pairs),
        "largest_difference": max(d for d, _ in differences),
        "relative_difference": max(d / max(scale, 1e-6) for d, scale in differences),
        "top1_agreement": sum(same) / len(same),
    }


def _semantic(pairs: Sequence[tuple[Seen, Seen]]) -> dict[str, Any]:
    equal = total = 0
    largest = 0.0
    for a, b in pairs:
        largest = max(largest, _largest(a.outputs[0], b.outputs[0])[0])
        one, other = (_found(SemanticMask, seen).class_map for seen in (a, b))
        total += one.size
        equal += int((one == other).sum()) if one.shape == other.shape else 0
    return {"pictures": len(pairs), "equal_pixels": equal / total, "largest_difference": largest}


def _pictures(pairs: Sequence[tuple[Seen, Seen]]) -> dict[str, Any]:
    differences = [np.abs(_pixels(a) - _pixels(b)) for a, b in pairs]
    return {
        "pictures": len(pairs),
        "pixel_difference": max(float(d.max()) for d in differences),
        "mean_pixel_difference": max(float(d.mean()) for d in differences),
    }


def _pixels(seen: Seen) -> NDArray[np.float64]:
    """The picture the pipeline gives; a generator's, which has no pipeline and no picture to start from, is its output
    (tanh: −1 to 1)."""
    if seen.found is None:
        return np.clip((seen.outputs[0].astype(np.float64) + 1) * 127.5, 0, 255)
    return _found(RenderedPicture, seen).pixels.astype(np.float64)


def _found(kind: type[T], seen: Seen) -> T:
    if not isinstance(seen.found, kind):
        raise ParityError(f"a {kind.__name__} was expected, the pipeline gives {type(seen.found).__name__}")
    return seen.found


def _vectors(pairs: Sequence[tuple[Seen, Seen]]) -> dict[str, Any]:
    differences, cosines = [], []
    for a, b in pairs:
        for one, other in zip(a.outputs, b.outputs, strict=True):
            difference, scale = _largest(one, other)
            differences.append(difference / max(scale, 1e-6))
            cosines.append(_cosine(one, other))
    return {"pictures": len(pairs), "relative_difference": max(differences), "cosine": min(cosines)}


def _cosine(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return -1.0
    one, other = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else float(np.array_equal(one, other))


def _objects(pairs: Sequence[tuple[Seen, Seen]], threshold: Threshold) -> dict[str, Any]:
    total = missed = borderline = 0
    box: list[float] = [0.0]
    score: list[float] = [0.0]
    mask_ious: list[float] = []
    for a, b in pairs:
        one, other = (objects_of(seen) for seen in (a, b))
        rows, columns = match(one, other)
        for side, taken in ((one, rows), (other, columns)):
            left = np.delete(side.scores, taken)
            # a full list ends at its weakest entry: which of two equals is the last one, is chance
            full = len(side.scores) >= threshold.most
            edge = max(threshold.score, float(side.scores.min())) if full else threshold.score
            near = int((left < edge + threshold.margin).sum())
            borderline += near
            missed += len(left) - near
            total += len(side.scores) - near
        if len(rows):
            box += np.abs(one.boxes[rows] - other.boxes[columns]).max(axis=1).tolist()
            score += np.abs(one.scores[rows] - other.scores[columns]).tolist()
        if isinstance(one, Instances) and isinstance(other, Instances):
            mask_ious += [mask_iou(one.masks[i], other.masks[j]) for i, j in zip(rows, columns, strict=True)]
    figures: dict[str, Any] = {
        "pictures": len(pairs),
        "detections": total // 2,
        "matched": 1.0 if total == 0 else 1 - missed / total,
        "at_the_threshold": borderline,
        "box_difference_px": max(box),
        "score_difference": max(score),
        "usual_box_difference_px": _all_but_few(box),
        "usual_score_difference": _all_but_few(score),
    }
    if mask_ious:
        figures["mask_iou"] = float(np.median(mask_ious))
        figures["smallest_mask_iou"] = min(mask_ious)
    return figures


def match(a: Objects, b: Objects) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair detections of the same label that overlap most, best overlap first, each at most once.

    Returns the indices into `a` and into `b`, pair by pair. Overlaps below `MATCH_IOU` are no pair.
    """
    if not len(a.scores) or not len(b.scores):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    overlap = iou(a.boxes, b.boxes)
    # a box without extent overlaps nothing, not even itself: a network without training gives such boxes
    apart = np.abs(a.boxes[:, None] - b.boxes[None, :]).max(axis=2)
    overlap[(apart <= _SAME_PLACE) & (overlap < MATCH_IOU)] = MATCH_IOU
    overlap[a.class_ids[:, None] != b.class_ids[None, :]] = -1
    # among equal overlaps (boxes of one place, kept for want of suppression) the nearer score is the same detection
    closeness = np.abs(a.scores[:, None] - b.scores[None, :])
    rows: list[int] = []
    columns: list[int] = []
    order = np.lexsort((closeness.ravel(), -np.round(overlap, 4).ravel()))
    free_a, free_b = np.ones(len(a.scores), bool), np.ones(len(b.scores), bool)
    for flat in order:
        i, j = divmod(int(flat), overlap.shape[1])
        if overlap[i, j] < MATCH_IOU:
            break
        if free_a[i] and free_b[j]:
            free_a[i] = free_b[j] = False
            rows.append(i)
            columns.append(j)
    return np.array(rows, np.int64), np.array(columns, np.int64)


def _all_but_few(differences: Sequence[float]) -> float:
    """What 99 of 100 stay within (and all but one, where there are fewer)."""
    return float(np.quantile(differences, 0.99, method="lower"))


def mask_iou(a: PlacedMask, b: PlacedMask) -> float:
    """Intersection over union of two masks of one picture, in [0, 1]; 1 where both cover nothing."""
    x1, y1 = max(a.x, b.x), max(a.y, b.y)
    x2 = min(a.x + a.pixels.shape[1], b.x + b.pixels.shape[1])
    y2 = min(a.y + a.pixels.shape[0], b.y + b.pixels.shape[0])
    shared = 0
    if x2 > x1 and y2 > y1:
        of_a, of_b = (m.pixels[y1 - m.y : y2 - m.y, x1 - m.x : x2 - m.x] for m in (a, b))
        shared = int((of_a & of_b).sum())
    union = a.area + b.area - shared
    return shared / union if union else 1.0
