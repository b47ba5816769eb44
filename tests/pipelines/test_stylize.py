"""A style network's output as a picture: its size, its clipping, how much of it, whose colours; and one that runs."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime
import pytest

import pipelines
from pipelines.card import Card, InputSpec, Resize, Weights
from pipelines.errors import CardError
from pipelines.geometry import plan_fit
from pipelines.params import StylizeParams
from pipelines.results import RenderedPicture
from pipelines.stylize import reader, with_colours_of
from tests.pipelines.test_golden import STYLE, photograph


def card(family: str = "transformer", resize: Resize | None = None) -> Card:
    return Card(
        name="wave",
        task="stylize",
        family=family,
        input=InputSpec(
            name="images",
            height=64,
            width=64,
            dynamic=True,
            batch=None,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            resize=resize or Resize(rule="keep", stride=4),
        ),
        weights=Weights(source="drawn here", licence="none"),
        exporter="by hand",
    )


def picture(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)


def test_padding_is_cut_off_and_values_are_clipped() -> None:
    pixels = picture((61, 50))
    plan = plan_fit((61, 50), card().input)
    output = np.full((3, *plan.padded), 300, np.float32)
    output[1] = -20

    found = reader(card(), StylizeParams())([output], plan, pixels)

    assert plan.padded == (64, 52)
    np.testing.assert_array_equal(found.pixels, np.broadcast_to(np.uint8([255, 0, 255]), (61, 50, 3)))


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 40), (0.5, 120), (1.0, 200)])
def test_strength_blends_with_the_picture(strength: float, expected: int) -> None:
    pixels = np.full((8, 8, 3), 40, np.uint8)
    plan = plan_fit((8, 8), card().input)

    found = reader(card(), StylizeParams(strength=strength))([np.full((3, 8, 8), 200, np.float32)], plan, pixels)

    assert abs(int(found.pixels[0, 0, 0]) - expected) <= 1


def test_the_pictures_own_colours_can_stay() -> None:
    pixels = np.full((8, 8, 3), (120, 90, 70), np.uint8)
    styled = np.full((8, 8, 3), (60, 140, 100), np.uint8)

    mixed = with_colours_of(pixels, styled)

    own, theirs, ours = (cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb)[0, 0].astype(int) for p in (pixels, styled, mixed))
    assert abs(ours[0] - theirs[0]) <= 1
    assert np.abs(ours[1:] - own[1:]).max() <= 1


def test_a_network_with_an_input_of_its_own_size_gives_the_pictures_size_back() -> None:
    stretching = card(resize=Resize(rule="stretch"))
    plan = plan_fit((100, 30), stretching.input)

    found = reader(stretching, StylizeParams())([np.zeros((3, 64, 64), np.float32)], plan, picture((100, 30)))

    assert found.pixels.shape == (100, 30, 3)


@pytest.mark.parametrize("wrong", [card("dcgan"), card(resize=Resize(rule="crop", shorter_side=64))])
def test_a_model_that_is_no_style_network_is_refused(wrong: Card) -> None:
    with pytest.raises(CardError, match="stylize"):
        reader(wrong, StylizeParams())


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (5, 90), (15, 17), (64, 64), (97, 131)])
def test_a_network_repaints_a_picture_of_any_size(size: tuple[int, int]) -> None:
    stylize = pipelines.load(str(STYLE), provider="cpu")

    result = stylize(picture(size))

    assert result.error is None
    assert isinstance(result.found, RenderedPicture)
    assert result.found.pixels.shape == (*size, 3)


def test_a_picture_is_what_the_network_paints_of_it_where_the_network_paints_it() -> None:
    cup = photograph("coffee")[:205, :300]
    padded = np.pad(cup, ((0, 3), (0, 4), (0, 0)), mode="reflect")  # to multiples of 8
    session = onnxruntime.InferenceSession(STYLE.read_bytes(), providers=["CPUExecutionProvider"])
    painted = session.run(None, {"images": padded.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]

    found = pipelines.load(str(STYLE), provider="cpu")(cup).found

    assert isinstance(found, RenderedPicture)
    expected = np.clip(painted[:, :205, :300].transpose(1, 2, 0), 0, 255)
    assert np.abs(found.pixels - expected).max() <= 0.51
