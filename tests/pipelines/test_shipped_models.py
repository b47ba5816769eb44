"""The two shipped files: small, self-describing, and they see what is in the sample photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.results import Detections, Labels

SAMPLES = Path(__file__).parents[2] / "samples"
MODELS = ("efficientnet-lite0", "ssd-mobilenet-v2")
MEGABYTE = 1_000_000


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_says_where_it_comes_from_and_how_good_it_is(name: str) -> None:
    card = pipelines.read_card(SHIPPED / f"{name}.onnx")

    assert card.name == name
    assert "Apache-2.0" in card.weights.licence
    assert card.weights.sha256 is not None
    assert card.weights.training_data
    assert all(figure.images >= 20 and figure.measured_by for figure in card.quality)
    assert len(card.quality) >= 2
    assert card.parity["images"] == 128


def test_the_two_shipped_files_stay_small() -> None:
    sizes = [(SHIPPED / f"{name}.onnx").stat().st_size for name in MODELS]

    assert max(sizes) < 20 * MEGABYTE
    assert sum(sizes) < 45 * MEGABYTE


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_gives_each_picture_what_it_gives_alone(name: str) -> None:
    path = SHIPPED / f"{name}.onnx"
    spec = pipelines.read_card(path).input
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).uniform(-1, 1, (5, 3, spec.height, spec.width)).astype(np.float32)

    together = session.run(None, {spec.name: images})

    for i in range(5):
        alone = session.run(None, {spec.name: images[i : i + 1]})
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[i], single[0], atol=1e-3)


@pytest.mark.parametrize(
    ("picture", "label"),
    [("things/café.jpg", "espresso"), ("people/photographer.jpg", "tripod"), ("places/palace.jpg", "palace")],
)
def test_classify_names_what_a_sample_shows(picture: str, label: str) -> None:
    result = pipelines.load("efficientnet-lite0", provider="cpu")(SAMPLES / picture)

    assert isinstance(result.found, Labels)
    assert result.found.names[0] == label


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("animals/cat.jpg", "cat"),
        ("animals/horse.png", "horse"),
        ("people/photographer.jpg", "person"),
        ("things/café.jpg", "cup"),
    ],
)
def test_detect_finds_what_a_sample_shows(picture: str, label: str) -> None:
    result = pipelines.load("ssd-mobilenet-v2", provider="cpu")(SAMPLES / picture)

    assert isinstance(result.found, Detections)
    assert label in result.found.names


def test_a_portrait_stored_on_its_side_is_found_upright() -> None:
    """Grace Hopper sits in the middle of a picture higher than wide; her tie hangs below her chin."""
    result = pipelines.load("ssd-mobilenet-v2", provider="cpu")(SAMPLES / "people/naval-officer.jpg")

    assert isinstance(result.found, Detections)
    height, width = result.size or (0, 0)
    left, top, right, bottom = result.found.boxes[result.found.names.index("person")]
    assert height > width
    assert bottom > 0.9 * height
    assert right - left > 0.8 * width
    assert top < 0.3 * height
