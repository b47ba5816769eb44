"""The files trained on smears and digits do what their cards say, measured again on a fixed sample.

A sample of twenty smears or 500 digits scatters; what is asserted is the card's figure less that scatter.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.results import Labels

pytest.importorskip("pycocotools")

from exports.recipes import bccd
from exports.recipes.accuracy import box_map

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_smears = pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason=f"needs bccd in PIXELMILL_DATA ({DATA})")
needs_digits = pytest.mark.skipif(
    not (DATA / "mnist.npz").is_file(), reason=f"needs mnist.npz in PIXELMILL_DATA ({DATA})"
)
METRIC = {"score": 0.001, "max_detections": 100}
MEGABYTE = 1_000_000


def figure(name: str, metric: str) -> float:
    """What the card of a shipped model promises."""
    card = pipelines.read_card(SHIPPED / f"{name}.onnx")
    (found,) = [quality.value for quality in card.quality if quality.metric == metric]
    return found


def read(name: str, digits: np.ndarray) -> list[int]:
    """The class each digit gets. digits: (N, 28, 28) uint8."""
    pictures = ((str(i), cv2.imencode(".png", digit)[1].tobytes()) for i, digit in enumerate(digits))
    found = [result.found for result in pipelines.load(name, provider="cpu").map(pictures)]
    assert all(isinstance(labels, Labels) for labels in found)
    return [int(labels.class_ids[0]) for labels in found if isinstance(labels, Labels)]


@needs_digits
def test_lenet5_reads_five_hundred_test_digits_as_its_card_promises() -> None:
    with np.load(DATA / "mnist.npz") as archive:
        digits, right = archive["test_x"][::20], archive["test_y"][::20]

    share = np.mean(np.equal(read("lenet5", digits), right))

    assert figure("lenet5", "top-1") >= 0.99
    assert share >= figure("lenet5", "top-1") - 0.01


@needs_digits
def test_lenet5_says_which_ground_it_wants_and_means_it() -> None:
    with np.load(DATA / "mnist.npz") as archive:
        digits, right = archive["test_x"][::100], archive["test_y"][::100]

    dark_on_light = np.mean(np.equal(read("lenet5", 255 - digits), right))

    assert any("dark ground" in note for note in pipelines.read_card(SHIPPED / "lenet5.onnx").notes)
    assert dark_on_light < 0.3


@needs_smears
def test_smears_yolo_finds_the_cells_of_twenty_smears_as_its_card_promises() -> None:
    truths = list(bccd.truths(bccd.load("val")[::4][:20]))

    _, fifty = box_map(pipelines.load("smears-yolo", METRIC, provider="cpu"), truths)

    assert figure("smears-yolo", "box mAP50") >= 0.85
    assert fifty >= figure("smears-yolo", "box mAP50") - 0.05
