"""The four shipped styles: small, self-describing, nearer to their painting than a photograph is; and their options."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.results import RenderedPicture
from tests.pipelines.test_golden import photograph

STYLES = ("style-wave", "style-scream", "style-shipwreck", "style-udnie")


def painted(name: str, pixels: np.ndarray, **params: object) -> np.ndarray:
    found = pipelines.load(name, params, provider="cpu")(pixels).found
    assert isinstance(found, RenderedPicture)
    return found.pixels


@pytest.mark.parametrize("name", STYLES)
def test_a_style_is_small_and_says_where_it_comes_from_and_what_was_measured(name: str) -> None:
    path = SHIPPED / f"{name}.onnx"
    card = pipelines.read_card(path)
    figures = {figure.metric: figure.value for figure in card.quality}

    assert path.stat().st_size <= 2_500_000
    assert (card.name, card.task, card.family) == (name, "stylize", "transformer")
    assert "public domain" in card.weights.licence
    assert card.weights.training_data is not None
    assert "COCO" in card.weights.training_data
    assert card.parity["passed"]
    assert figures["style loss"] < figures["style loss, of the network before training"]
    assert figures["style loss"] < figures["style loss, of the photographs themselves"]
    assert figures["content loss"] < figures["content loss, of the network before training"]
    assert all(figure.images >= 12 and figure.measured_by for figure in card.quality)


def test_each_style_paints_in_a_way_of_its_own() -> None:
    cat = photograph("chelsea")

    pictures = [painted(name, cat).astype(int) for name in STYLES]

    apart = [np.abs(one - other).mean() for i, one in enumerate(pictures) for other in pictures[:i]]
    assert min(apart) > 10


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (97, 3), (131, 97)])
def test_a_picture_of_any_size_is_painted_at_its_size(size: tuple[int, int]) -> None:
    pixels = np.ascontiguousarray(photograph("coffee")[50 : 50 + size[0], 60 : 60 + size[1]])

    assert painted("style-wave", pixels).shape == (*size, 3)


def test_half_the_strength_lies_half_way() -> None:
    cat = photograph("chelsea")

    half, whole = painted("style-scream", cat, strength=0.5), painted("style-scream", cat)

    expected = (cat.astype(float) + whole) / 2
    assert np.abs(half - expected).max() <= 1


def test_original_colours_keep_the_colours_and_take_the_light() -> None:
    cat = photograph("chelsea")

    kept, whole = painted("style-scream", cat, original_colours=True), painted("style-scream", cat)

    own, theirs, mixed = (cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb).astype(int) for p in (cat, whole, kept))
    # what leaves the range of RGB is cut off, so not every pixel can keep both
    assert np.median(np.abs(mixed[..., 0] - theirs[..., 0])) <= 2
    assert np.median(np.abs(mixed[..., 1:] - own[..., 1:])) <= 2
