"""A detector finds the persons first, and the matte network looks at each of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from exports.recipes.selfie.people import people, person_iou
from pipelines.catalog import SHIPPED
from pipelines.errors import CardError
from pipelines.pipeline import Pipeline
from pipelines.results import RenderedPicture

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
OFFICER = Path(__file__).parents[2] / "samples" / "people" / "naval-officer.jpg"


@pytest.fixture(scope="module")
def closer() -> Pipeline:
    """As a user gets it, with the detector."""
    return pipelines.load("selfie", {"effect": "cutout"}, provider="cpu")


def picture(pipeline: Pipeline, source: Any) -> RenderedPicture:
    found = pipeline(source).found
    assert isinstance(found, RenderedPicture)
    return found


@pytest.mark.skipif(not (DATA / "coco128").exists(), reason="no coco128 photographs; set PIXELMILL_DATA")
def test_the_card_states_the_iou_that_the_pipeline_reaches(closer: Pipeline) -> None:
    persons = people(DATA / "coco128", 0.15)

    measured = float(np.mean([person_iou(closer(person.photo).found, person.mask) for person in persons]))

    stated = next(quality for quality in closer.card.quality if "mean" in quality.metric)
    assert stated.images == len(persons)
    assert measured == pytest.approx(stated.value, abs=0.01)


@pytest.fixture(scope="module")
def masks() -> Pipeline:
    return pipelines.load("coco-masks", {"effect": "cutout"}, pipeline="portrait", provider="cpu")


@pytest.mark.parametrize("name", ["closer", "masks"])
def test_persons_that_a_detector_finds_are_cut_out(name: str, request: pytest.FixtureRequest) -> None:
    found = picture(request.getfixturevalue(name), OFFICER)

    alpha = found.pixels[..., 3]
    height, width = alpha.shape
    assert alpha[height // 2 : height * 3 // 4, width * 2 // 5 : width * 3 // 5].min() == 255
    assert alpha[:5, :5].max() == 0
    assert 0.2 < found.facts["person_share"] < 0.9


@pytest.mark.parametrize("name", ["closer", "masks"])
@pytest.mark.parametrize("path", ["animals/cat.jpg", "animals/horse.png", "places/flower.jpg"])
def test_what_is_no_person_is_left_as_it_is(path: str, name: str, request: pytest.FixtureRequest) -> None:
    photo = OFFICER.parents[1] / path

    found = picture(request.getfixturevalue(name), photo)

    assert found.facts["person_share"] == 0
    assert found.pixels[..., 3].min() == 255
    np.testing.assert_array_equal(found.pixels[..., :3], pipelines.decode(photo.read_bytes()).pixels)


def test_a_small_person_is_seen_in_a_look_of_its_own(closer: Pipeline) -> None:
    import cv2

    officer = pipelines.decode(OFFICER.read_bytes()).pixels
    small = cv2.resize(officer, (150, 150 * officer.shape[0] // officer.shape[1]), interpolation=cv2.INTER_AREA)
    meadow = np.full((600, 900, 3), (90, 140, 60), np.uint8)
    meadow[250 : 250 + small.shape[0], 500:650] = small

    alpha = picture(closer, meadow).pixels[..., 3]

    assert alpha[250 + small.shape[0] // 2 : 250 + small.shape[0] * 3 // 4, 560:590].mean() > 245
    assert alpha[:, :350].max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 40)])
def test_looks_at_boxes_anywhere_stay_within_the_picture(closer: Pipeline, size: tuple[int, int]) -> None:
    from pipelines.matte_persons import each

    height, width = size
    boxes = np.array([[0, 0, width, height], [width - 0.5, height - 0.5, width, height], [0, 0, 0, 0]], np.float32)

    seen = each(closer.session, np.full((*size, 3), 128, np.uint8), boxes)

    assert seen.shape[0] <= height
    assert seen.shape[1] <= width
    assert 0 <= seen.min() <= seen.max() <= 1


def test_a_card_with_a_detector_that_finds_no_persons_is_refused(tmp_path: Path) -> None:
    from pipelines.card import with_card

    shipped = SHIPPED / "selfie.onnx"
    card = pipelines.read_card(shipped)
    for detector, words in (("smears-yolo", "put the one it came with back"), (7, "must name a model")):
        path = tmp_path / f"own-{detector}.onnx"
        path.write_bytes(with_card(shipped.read_bytes(), card.model_copy(update={"decode": {"detector": detector}})))

        with pytest.raises(CardError, match=words):
            pipelines.load(str(path), provider="cpu")
