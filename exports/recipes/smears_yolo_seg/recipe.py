"""YOLO11n-seg on blood smears, from the smear detector's weights to the file that ships.

    python -m exports.recipes.smears_yolo_seg.recipe --scratch FOLDER --detector FOLDER

--detector names the scratch folder of the recipe `smears_yolo`. A training that was cut off goes on where it was when
the same folder is given again. README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

from pathlib import Path

from exports.download import sha256_of
from exports.recipes import bccd
from exports.recipes.mask_accuracy import MaskTruth, mask_map
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.smear_yolos import LICENCE, METRIC, entry
from exports.recipes.smears_yolo_seg.polygons import polygon_lines, truth
from exports.recipes.trained import arguments, ship
from exports.recipes.yolo_training import Schedule, train, write_dataset
from pipelines.card import Quality, Weights
from pipelines.pipeline import build

NAME = "smears-yolo-seg"
BASE = "yolo11n-seg"
MEASURED_BY = "exports/recipes/smears_yolo_seg/recipe.py"
SCHEDULE = Schedule(epochs=24, plain_epochs=8, rate=0.001)
DERIVED = "masks derived from the labelled boxes by classical means (exports/recipes/smears_masks.py), drawn by nobody"
NOTE = f"trained and judged on {DERIVED}: its figures say how well it repeats that derivation"


def trained(scratch: Path, detector: Path, data: Path | None = None, schedule: Schedule = SCHEDULE) -> Path:
    """Train on the training smears of `data`, the folder of BCCD. Returns the checkpoint.

    detector: checkpoint of the smear detector: backbone, neck and the heads for boxes and classes are taken from it,
    only the prototypes and the coefficients of the masks start at random.
    """
    described = write_dataset(scratch / "smears", bccd.load("train", data), bccd.load("val", data), polygon_lines)
    return train(f"{BASE}.yaml", described, scratch, schedule, detector)


def mask_quality(model: Path, truths: list[MaskTruth]) -> tuple[Quality, ...]:
    """Measure masks through the product's pipeline: COCO's mAP and mAP50."""
    mean, fifty = mask_map(build(model, METRIC, provider="cpu"), truths)
    data = f"the 87 validation smears of BCCD, never trained on; {DERIVED}"
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=data, images=len(truths), measured_by=MEASURED_BY)
        for metric, value in (("mask mAP (COCO, IoU 0.50:0.95)", mean), ("mask mAP50", fifty))
    )


def main() -> None:
    parser = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd")
    parser.add_argument("--detector", type=Path, required=True, help="the scratch folder of the recipe smears_yolo")
    given = parser.parse_args()

    detector = given.detector / "run" / "weights" / "last.pt"
    checkpoint = trained(given.scratch, detector, given.data)
    truths = [truth(smear) for smear in bccd.load("val", given.data)]
    weights = Weights(
        source=f"trained by {MEASURED_BY} from the weights of smears-yolo, {SCHEDULE.epochs} epochs, seed "
        f"{SCHEDULE.seed}",
        licence=LICENCE,
        sha256=sha256_of(checkpoint),
        training_data=f"{bccd.SOURCE}: 205 training smears; {DERIVED}",
    )
    network = entry(BASE, NAME, SCHEDULE.size)
    pictures = given.scratch / "smears" / "images" / "val"
    ship(network, checkpoint, weights, pictures, lambda model: mask_quality(model, truths), given.out, notes=(NOTE,))


if __name__ == "__main__":
    main()
