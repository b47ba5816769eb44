"""The linear parts of an R-CNN: a support vector machine and a box regression a class, learnt from kept features.

Girshick et al., CVPR 2014, section 2.3 and appendix B (positives are the annotated objects alone, negatives what meets
none of the class by 0.3; hard negatives are added in rounds) and appendix C (ridge regression on proposals that meet an
object by 0.6). scikit-learn does the learning; what is kept of it are numbers, not its objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from exports.recipes.smears_rcnn.examples import Examples
from pipelines.types import Boxes, FloatArray

C = 1e-3  # of the support vector machine, as published, for features of mean norm 20
NORM = 20.0
_NEGATIVE = 0.3  # IoU
_CLOSE = 0.6  # IoU
_RIDGE = 1000.0
_ROUNDS = 3
_FIRST = 2000  # negatives of the first round
_MOST = 6000  # hard negatives a round
_HARD = -1.0  # margin


@dataclass(frozen=True, slots=True)
class Heads:
    """Linear maps of features, which the network gives as they are.

    svm: (C, F) float32 and svm_bias: (C,) float32. regression: (4 C, F) float32 and regression_bias: (4 C,) float32,
    the four deltas of a class one after the other. platt: (C, 2) float64, as `pipelines.rcnn` reads them.
    """

    svm: FloatArray
    svm_bias: FloatArray
    regression: FloatArray
    regression_bias: FloatArray
    platt: NDArray[np.float64]


def learnt(train: Sequence[Examples], held_out: Sequence[Examples], classes: int, seed: int = 0) -> Heads:
    """Learn the heads of `classes` classes. held_out: examples that only the margins' probabilities are learnt from."""
    norms = np.concatenate([np.linalg.norm(part.features[:40].astype(np.float32), axis=1) for part in train])
    scale = np.float32(NORM / norms.mean())
    random = np.random.default_rng(seed)
    svms = [machine(train, c, scale, random) for c in range(classes)]
    ridges = [regression(train, c, scale) for c in range(classes)]
    return Heads(
        np.concatenate([one.coef_ for one in svms]).astype(np.float32) * scale,
        np.concatenate([one.intercept_ for one in svms]).astype(np.float32),
        np.concatenate([one.coef_ for one in ridges]).astype(np.float32) * scale,
        np.concatenate([one.intercept_ for one in ridges]).astype(np.float32),
        np.array([_platt(held_out, c, svms[c], scale) for c in range(classes)]),
    )


def machine(train: Sequence[Examples], class_id: int, scale: np.float32, random: np.random.Generator) -> LinearSVC:
    """Learn one class against everything else, with hard negatives in rounds."""
    positives = np.concatenate(
        [part.features[: len(part.class_ids)][part.class_ids == class_id] for part in train]
    ).astype(np.float32)
    pool = np.concatenate([part.features[_best(part, class_id) < _NEGATIVE] for part in train])
    chosen = np.zeros(len(pool), np.bool_)
    chosen[random.choice(len(pool), min(_FIRST, len(pool)), replace=False)] = True
    for number in range(_ROUNDS):
        rows = np.concatenate([positives, pool[chosen].astype(np.float32)]) * scale
        labels = np.arange(len(rows)) < len(positives)
        # liblinear regularises the bias too; 10 as its feature makes that negligible, as published
        svm = LinearSVC(C=C, intercept_scaling=10, class_weight={True: 2.0, False: 1.0}, random_state=0, max_iter=300)
        svm.fit(rows, labels)
        margins = np.concatenate(
            [svm.decision_function(pool[at : at + 4096].astype(np.float32) * scale) for at in range(0, len(pool), 4096)]
        )
        hard = np.flatnonzero((margins > _HARD) & ~chosen)
        print(
            f"class {class_id}, round {number + 1}: {len(positives)} positives, {chosen.sum()} negatives, "
            f"{len(hard)} hard ones to add"
        )
        if not hard.size:
            break
        chosen[hard[np.argsort(-margins[hard])][:_MOST]] = True
    return svm


def regression(train: Sequence[Examples], class_id: int, scale: np.float32) -> Ridge:
    """Learn where the object lies from the features of a proposal near it."""
    features, targets = [], []
    for part in train:
        ours = np.flatnonzero(part.class_ids == class_id)
        if ours.size:
            overlap = part.overlap[:, ours]
            near = np.flatnonzero(overlap.max(axis=1) > _CLOSE)
            features.append(part.features[near].astype(np.float32) * scale)
            targets.append(deltas(part.boxes[near], part.truth[ours[overlap[near].argmax(axis=1)]]))
    return Ridge(alpha=_RIDGE).fit(np.concatenate(features), np.concatenate(targets))


def deltas(regions: Boxes, truth: Boxes) -> FloatArray:
    """What regression has to say for a region to become its object (appendix C, equations 6 to 9). Both (N, 4)."""
    sides, true_sides = regions[:, 2:] - regions[:, :2], truth[:, 2:] - truth[:, :2]
    shift = (truth[:, :2] + true_sides / 2 - regions[:, :2] - sides / 2) / sides
    return np.concatenate([shift, np.log(true_sides / sides)], axis=1, dtype=np.float32)


def _platt(held_out: Sequence[Examples], class_id: int, svm: LinearSVC, scale: np.float32) -> tuple[float, float]:
    """The line through the margins that gives the probability of meeting an object of the class by half."""
    margins = np.concatenate([svm.decision_function(part.features.astype(np.float32) * scale) for part in held_out])
    meets = np.concatenate([_best(part, class_id) >= 0.5 for part in held_out])
    fitted = LogisticRegression().fit(margins[:, None], meets)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _best(part: Examples, class_id: int) -> FloatArray:
    best: FloatArray = part.overlap[:, part.class_ids == class_id].max(axis=1, initial=0)
    return best
