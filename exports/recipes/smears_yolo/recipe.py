"""YOLO11n on blood smears, from random weights to the file that ships.

    python -m exports.recipes.smears_yolo.recipe --scratch FOLDER

A training that was cut off goes on where it was when the same folder is given again. README.md beside this file says
what it needs and what came out.
"""

from __future__ import annotations

from pathlib import Path

from exports.download import sha256_of
from exports.recipes import bccd
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.smear_yolos import LICENCE, box_quality, entry
from exports.recipes.trained import arguments, ship
from exports.recipes.yolo_training import Schedule, box_lines, train, write_dataset
from pipelines.card import Quality, Weights

NAME = "smears-yolo"
BASE = "yolo11n"
MEASURED_BY = "exports/recipes/smears_yolo/recipe.py"
SCHEDULE = Schedule(epochs=50, plain_epochs=12, rate=0.0015)


def trained(scratch: Path, data: Path | None = None, schedule: Schedule = SCHEDULE) -> Path:
    """Train from random weights on the training smears of `data`, the folder of BCCD. Returns the checkpoint."""
    described = write_dataset(scratch / "smears", bccd.load("train", data), bccd.load("val", data), box_lines)
    return train(f"{BASE}.yaml", described, scratch, schedule)


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd").parse_args()

    checkpoint = trained(given.scratch, given.data)
    truths = list(bccd.truths(bccd.load("val", given.data)))

    def measure(model: Path) -> tuple[Quality, ...]:
        return box_quality(model, truths, MEASURED_BY)

    weights = Weights(
        source=f"trained by {MEASURED_BY} from random weights, {SCHEDULE.epochs} epochs, seed {SCHEDULE.seed}",
        licence=LICENCE,
        sha256=sha256_of(checkpoint),
        training_data=f"{bccd.SOURCE}: 205 training smears",
    )
    pictures = given.scratch / "smears" / "images" / "val"
    ship(entry(BASE, NAME, SCHEDULE.size), checkpoint, weights, pictures, measure, given.out)


if __name__ == "__main__":
    main()
