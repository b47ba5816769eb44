"""Masks derived from boxes, and the data and the training of the networks on EfficientNet-Lite0."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

import torch
from torch import nn

from exports.recipes import bccd
from exports.recipes.coco_masks.judging import Asked, filled, overlaps
from exports.recipes.smears_fasterrcnn.training import Example, varied
from exports.recipes.smears_masks import UNJUDGED, derive_masks, semantic_mask
from exports.recipes.torch_training import Schedule, fit

DATA = Path(os.environ.get("PIXELMILL_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_smears = pytest.mark.skipif(not (DATA / "bccd").is_dir(), reason=f"needs bccd in PIXELMILL_DATA ({DATA})")
SLIDE, STAIN = (210, 205, 205), (190, 150, 150)


def slide(*discs: tuple[int, int, int]) -> np.ndarray:
    """A slide with red cells. discs: x, y, radius."""
    pixels = np.full((200, 300, 3), SLIDE, np.uint8)
    for x, y, radius in discs:
        cv2.circle(pixels, (x, y), radius, STAIN, cv2.FILLED)
        cv2.circle(pixels, (x, y), radius // 4, SLIDE, cv2.FILLED)  # the pale middle
    return pixels


def around(*discs: tuple[int, int, int]) -> np.ndarray:
    """The box of each disc."""
    return np.array([[x - r, y - r, x + r + 1, y + r + 1] for x, y, r in discs], np.float32)


def test_a_cell_is_found_whole_with_its_pale_middle() -> None:
    disc = (100, 90, 40)
    right = cv2.circle(np.zeros((200, 300), np.uint8), disc[:2], disc[2], 1, cv2.FILLED) > 0

    (mask,) = derive_masks(slide(disc), around(disc), ["RBC"])

    assert (mask & right).sum() / (mask | right).sum() > 0.9


def test_cells_that_touch_are_parted_between_them() -> None:
    left, right = (100, 90, 40), (176, 90, 40)

    masks = derive_masks(slide(left, right), around(left, right), ["red cell", "red cell"])

    assert not (masks[0] & masks[1]).any()
    assert masks[0][:, :134].sum() > 0.95 * masks[0].sum()
    assert masks[1][:, 142:].sum() > 0.95 * masks[1].sum()


def test_a_cell_without_a_box_is_left_unjudged() -> None:
    known, unknown = (80, 90, 40), (220, 90, 40)

    classes = semantic_mask(slide(known, unknown), around(known), ["RBC"])

    assert classes[90, 50] == 1
    assert classes[90, 190] == UNJUDGED
    assert classes[5, 5] == 0


def test_no_box_gives_no_mask() -> None:
    assert derive_masks(slide(), np.zeros((0, 4), np.float32), []) == []


@needs_smears
def test_derived_masks_fill_the_boxes_of_real_cells() -> None:
    smears = bccd.load("val")[::20]
    heights = []
    for smear in smears:
        pixels = cv2.cvtColor(cv2.imread(str(smear.path)), cv2.COLOR_BGR2RGB)
        masks = derive_masks(pixels, smear.boxes, smear.labels)
        for mask, box, label in zip(masks, smear.boxes, smear.labels, strict=True):
            rows = np.flatnonzero(mask.any(axis=1))
            assert mask[: int(box[1])].sum() == 0
            if label != "Platelets":
                heights.append(len(rows) / (box[3] - box[1]))

    assert np.median(heights) > 0.9


def test_boxes_turn_and_mirror_with_their_cells() -> None:
    disc = (90, 60, 30)
    example = Example(slide(disc), around(disc), np.array([1], np.int64))

    for seed in range(12):
        seen = varied(example, np.random.default_rng(seed))
        left, top, right, bottom = seen.boxes[0]
        dark = seen.pixels[..., 1] < seen.pixels[..., 1].max() - 25
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        np.testing.assert_allclose(
            (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), (left, top, right, bottom), atol=1.01
        )


def test_the_filled_box_overlaps_half_of_an_object_that_fills_half_of_it() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:30] = True
    asked = [Asked(np.zeros((40, 40, 3), np.uint8), np.array([[10, 10, 30, 30]], np.float32), (mask,))]

    assert overlaps(filled, asked).tolist() == [0.5]


class Line(nn.Module):
    """A body and a head, one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def test_a_training_that_was_cut_off_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    schedule = Schedule(epochs=4, batch=2, rate=0.05, body_rate=0.01)

    def loss(network: nn.Module, chosen: list[int], random: np.random.Generator) -> torch.Tensor:
        x = torch.tensor([[float(i)] for i in chosen])
        return ((network(x) - 2 * x - 1) ** 2).mean() * random.uniform(0.9, 1.1)

    def line() -> Line:
        torch.manual_seed(3)
        return Line()

    whole = line()
    fit(whole, whole.body, 9, loss, schedule, tmp_path / "whole")

    def once(network: nn.Module, chosen: list[int], random: np.random.Generator) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 12:  # in the middle of the third epoch
            raise KeyboardInterrupt
        return loss(network, chosen, random)

    steps: list[int] = []
    first = line()
    with pytest.raises(KeyboardInterrupt):
        fit(first, first.body, 9, once, schedule, tmp_path / "parts")
    again = line()
    fit(again, again.body, 9, loss, schedule, tmp_path / "parts")

    one = torch.load(tmp_path / "whole" / "weights.pt", weights_only=True)
    other = torch.load(tmp_path / "parts" / "weights.pt", weights_only=True)
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)
