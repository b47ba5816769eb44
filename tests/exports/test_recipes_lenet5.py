"""LeNet-5's recipe: digits reach the training as the product prepares them, and moving them loses nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from exports.catalog import find
from exports.recipes.lenet5.recipe import encoded, inputs, moved, train

pytestmark = pytest.mark.torch


def strokes() -> np.ndarray:
    """Two 28×28 pictures, light on dark: an upright stroke and a level one."""
    digits = np.zeros((2, 28, 28), np.uint8)
    digits[0, 4:24, 12:16] = 255
    digits[1, 12:16, 4:24] = 255
    return digits


def test_digits_are_stretched_and_scaled_as_in_the_paper() -> None:
    """Background −0.1 and ink 1.175 (LeCun et al. 1998, section III-A)."""
    prepared = inputs(strokes(), find("lenet5").facts().input)

    wanted = (cv2.resize(strokes()[0], (32, 32), interpolation=cv2.INTER_LINEAR).astype(np.float32) - 20) / 200
    assert prepared.shape == (2, 1, 32, 32)
    assert prepared.min().item() == pytest.approx(-0.1)
    assert prepared.max().item() == pytest.approx(1.175)
    np.testing.assert_allclose(prepared[0, 0].numpy(), wanted, atol=1e-6)


def test_a_moved_batch_keeps_all_its_ink() -> None:
    prepared = inputs(strokes(), find("lenet5").facts().input)

    shifted = [moved(prepared, 1) for _ in range(8)]

    assert all(torch.equal(s.flatten(1).sort().values, prepared.flatten(1).sort().values) for s in shifted)
    assert any(not torch.equal(s, prepared) for s in shifted)


def test_training_learns_to_tell_an_upright_stroke_from_a_level_one() -> None:
    pictures = inputs(strokes(), find("lenet5").facts().input).repeat(64, 1, 1, 1)
    classes = torch.tensor([1, 7]).repeat(64)

    network = train(pictures, classes, epochs=12)

    assert network(pictures[:2]).argmax(1).tolist() == [1, 7]


def test_a_digit_written_as_a_png_is_the_digit() -> None:
    (name, png), _ = encoded(strokes())

    assert name == "0"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), strokes()[0])
