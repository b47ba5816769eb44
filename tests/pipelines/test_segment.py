"""Semantic masks at the picture's own size, against PyTorch's interpolation of the same scores."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines import segment
from pipelines.card import Card, InputSpec, Resize, Weights
from pipelines.errors import CardError, ParameterError
from pipelines.geometry import Fit, plan_fit
from pipelines.params import SegmentParams, resolve_params
from pipelines.segment import best_class, reader

NAMES = ("sky", "land", "sea")
LETTERBOX = Resize(rule="letterbox", stride=32)


def card(resize: Resize = LETTERBOX, names: tuple[str, ...] = NAMES, family: str = "semantic-logits") -> Card:
    return Card(
        name="small",
        task="segment",
        family=family,
        names=names,
        input=InputSpec(name="images", height=64, width=64, mean=(0, 0, 0), std=(1, 1, 1), resize=resize),
        weights=Weights(source="made here", licence="MIT"),
        exporter="a test",
    )


def by_pytorch(logits: NDArray[np.float32], plan: Fit) -> NDArray[np.int64]:
    """Cut the padding off, enlarge every class as PyTorch does, take the best."""
    torch = pytest.importorskip("torch")
    (left, top), (height, width) = plan.shift, plan.scaled
    inside = torch.from_numpy(logits[None, :, top : top + height, left : left + width].astype(np.float32))
    enlarged = torch.nn.functional.interpolate(inside, size=plan.size, mode="bilinear", align_corners=False)
    best: NDArray[np.int64] = enlarged[0].argmax(0).numpy()
    return best


sides = st.integers(1, 300)


@settings(deadline=None, max_examples=40)
@given(height=sides, width=sides, classes=st.integers(1, 6), smooth=st.booleans(), seed=st.integers(0, 99))
def test_a_pixel_has_the_class_that_pytorch_gives_it(
    height: int, width: int, classes: int, smooth: bool, seed: int
) -> None:
    plan = plan_fit((height, width), card().input)
    random = np.random.default_rng(seed)
    logits = random.normal(size=(classes, *plan.padded)).astype(np.float32)
    if smooth:  # large areas of one class, where most classes are ruled out unseen
        logits = np.repeat(np.repeat(logits[:, ::16, ::16], 16, axis=1), 16, axis=2) + logits / 9

    found = best_class(logits, plan)

    assert found.shape == (height, width)
    assert (found == by_pytorch(logits, plan)).mean() >= 0.999


@pytest.mark.parametrize("size", [(300, 200), (67, 131), (40, 30)], ids=str)
def test_a_picture_computed_in_pieces_has_the_classes_that_pytorch_gives_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "_WHOLE", 0)
    monkeypatch.setattr(segment, "_TILE", 48)
    plan = plan_fit(size, card().input)  # from 25 pixels a cell down to fewer than one
    logits = np.random.default_rng(5).normal(size=(5, *plan.padded)).astype(np.float32)

    found = best_class(logits, plan)

    assert (found == by_pytorch(logits, plan)).mean() >= 0.999


def test_padding_never_becomes_a_class_of_the_picture() -> None:
    plan = plan_fit((30, 90), card().input)
    (left, top), (height, width) = plan.shift, plan.scaled
    logits = np.zeros((3, *plan.padded), np.float32)
    logits[2] = 9  # everywhere the padding is
    logits[:, top : top + height, left : left + width] = np.array([1, 2, 0], np.float32)[:, None, None]

    assert (best_class(logits, plan) == 1).all()


def test_a_map_of_a_quarter_of_the_input_is_enlarged_as_well() -> None:
    plan = plan_fit((128, 128), card().input)
    logits = np.zeros((2, 16, 16), np.float32)
    logits[0, :, :8] = logits[1, :, 8:] = 1

    found = best_class(logits, plan)

    assert (found[:, :64] == 0).all()
    assert (found[:, 64:] == 1).all()


def test_a_class_that_wins_only_between_two_cells_is_found() -> None:
    plan = Fit((0.02, 0.02), (0, 0), (1, 2), (1, 2), (50, 100))
    logits = np.array([[10, 0], [0, 10], [9, 9]], np.float32).reshape(3, 1, 2)

    found = best_class(logits, plan)

    assert set(np.unique(found)) == {0, 1, 2}
    assert (found == by_pytorch(logits, plan)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3)], ids=str)
def test_tiny_pictures_get_a_class_a_pixel(size: tuple[int, int]) -> None:
    plan = plan_fit(size, card().input)
    logits = np.random.default_rng(1).normal(size=(3, *plan.padded)).astype(np.float32)

    assert (best_class(logits, plan) == by_pytorch(logits, plan)).all()


def test_twelve_megapixels_of_21_classes_take_little_memory() -> None:
    plan = plan_fit((3000, 4000), card().input.model_copy(update={"height": 512, "width": 512}))
    logits = np.random.default_rng(2).normal(size=(21, 32, 32)).astype(np.float32)
    logits = logits.repeat(16, axis=1).repeat(16, axis=2)
    tracemalloc.start()

    found = best_class(logits, plan)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (3000, 4000)
    assert peak < 40e6  # 12 MB are the answer; 21 enlarged maps would be 1 GB


def test_classes_not_asked_for_are_shown_as_the_first_one() -> None:
    plan = plan_fit((64, 64), card().input)
    logits = np.zeros((3, 64, 64), np.float32)
    logits[1, :, 20:] = 1
    logits[2, :, 40:] = 2

    found = reader(card(), SegmentParams(classes=("sea",)))([logits], plan)

    assert [segment["label"] for segment in found.to_json()["segments"]] == ["sky", "sea"]
    assert found.names == NAMES


def test_a_class_the_model_lacks_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ParameterError, match="did you mean 'sea'"):
        resolve_params(card(), {"classes": ["see"]})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (card(family="logits"), "segment reads semantic-logits"),
        (card(names=()), "0 class names"),
        (card(names=tuple(map(str, range(257)))), "257 class names"),
        (card(Resize(rule="crop", shorter_side=64)), "crops its input"),
    ],
    ids=["family", "no names", "too many names", "crop"],
)
def test_a_card_that_segment_cannot_read_is_refused(wrong: Card, said: str) -> None:
    with pytest.raises(CardError, match=said):
        reader(wrong, SegmentParams())


def test_another_number_of_maps_than_names_is_an_error() -> None:
    read = reader(card(), SegmentParams())

    with pytest.raises(ValueError, match="3 maps was expected"):
        read([np.zeros((4, 64, 64), np.float32)], plan_fit((64, 64), card().input))
