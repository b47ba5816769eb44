"""The files trained on smears and digits do what their cards say, measured again on a fixed sample.

A sample of twenty smears, or of 500 digits, scatters; what is asserted is the card's figure less that scatter.
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
from exports.recipes.mask_accuracy import mask_map
from exports.recipes.smears_yolo_seg.polygons import truth

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


@needs_smears
def test_smears_yolo_seg_outlines_the_cells_of_twenty_smears_as_its_card_promises() -> None:
    truths = [truth(smear) for smear in bccd.load("val")[::4][:20]]

    _, fifty = mask_map(pipelines.load("smears-yolo-seg", METRIC, provider="cpu"), truths)

    assert figure("smears-yolo-seg", "mask mAP50") >= 0.75
    assert fifty >= figure("smears-yolo-seg", "mask mAP50") - 0.05


@pytest.mark.parametrize("name", ["smears-yolo", "smears-yolo-seg"])
def test_a_smear_model_says_whose_licence_binds_it_and_what_it_was_trained_on(name: str) -> None:
    card = pipelines.read_card(SHIPPED / f"{name}.onnx")

    assert card.names == bccd.NAMES
    assert "AGPL-3.0" in card.weights.licence
    assert "BCCD" in (card.weights.training_data or "")
    assert card.parity["passed"]
    assert all(quality.images == 87 for quality in card.quality)


def test_masks_derived_by_a_program_are_not_passed_off_as_drawn() -> None:
    card = pipelines.read_card(SHIPPED / "smears-yolo-seg.onnx")

    assert all("derived" in quality.data for quality in card.quality)
    assert any("derived" in note for note in card.notes)


def test_the_three_files_stay_small() -> None:
    sizes = [(SHIPPED / f"{name}.onnx").stat().st_size for name in ("lenet5", "smears-yolo", "smears-yolo-seg")]

    assert sum(sizes) < 12 * MEGABYTE
