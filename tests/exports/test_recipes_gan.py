"""The GANs' recipes: a training that goes on where it was cut off, distances that are right, cuts of whole cells, and
a shipped generator that draws what PyTorch's does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from exports.build import build as build_network
from exports.catalog import Entry
from exports.export import Request, export
from exports.networks.dcgan import Discriminator, Generator
from exports.networks.gan import JudgedGenerator
from exports.recipes.bccd import Smear
from exports.recipes.cells_dcgan.data import SIDE, cut, every_way
from exports.recipes.cells_dcgan.training import augment
from exports.recipes.gan_quality import frechet_distance, gan_facts, kernel_distance, nearest
from exports.recipes.gan_training import Numbers, Pictures, Plan, fit, moved, steepness
from pipelines.generate import Generator as Generate
from pipelines.generate import latent
from pipelines.pipeline import build
from pipelines.results import RenderedPicture
from pipelines.seeds import seed_names

pytestmark = pytest.mark.torch
NAMES = ("round", "square")


def networks() -> tuple[Generator, Discriminator]:
    torch.manual_seed(3)
    return Generator(4, 2, 1, len(NAMES), 32), Discriminator(2, 1, len(NAMES), 32)


def drawing() -> Pictures:
    shapes = torch.full((4, 1, 32, 32), -1.0)
    shapes[:2, :, 8:24, 8:24] = 1
    shapes[2:, :, 14:18, 2:30] = 1

    def draw(numbers: Numbers, _: np.random.Generator) -> Tensor:
        return shapes[numbers]

    return Pictures((np.array([0, 1]), np.array([2, 3])), (0.5, 0.5), draw)


def test_a_training_that_was_cut_off_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.recipes.gan_training._KEEP", 2)
    plan = Plan(steps=4, batch=4, strict=True, penalty=0.1, fade=0.5)

    def still(batch: Tensor, _: torch.Generator) -> Tensor:
        return batch

    calls = 0

    def cut_off(batch: Tensor, _: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 7:  # three a step
            raise KeyboardInterrupt
        return batch

    whole = torch.load(fit(*networks(), drawing(), still, plan, tmp_path / "whole"), weights_only=True)
    with pytest.raises(KeyboardInterrupt):
        fit(*networks(), drawing(), cut_off, plan, tmp_path / "cut")
    resumed = torch.load(fit(*networks(), drawing(), still, plan, tmp_path / "cut"), weights_only=True)

    for part in ("generator", "discriminator"):
        for name, tensor in whole[part].items():
            torch.testing.assert_close(tensor, resumed[part][name], rtol=0, atol=1e-6)


def test_pictures_are_moved_by_whole_pixels_and_gradients_go_through() -> None:
    pictures = torch.rand(3, 1, 8, 8, requires_grad=True)

    shifted = moved(pictures, 0.25, torch.Generator().manual_seed(1))
    shifted.sum().backward()

    assert shifted.shape == pictures.shape
    assert pictures.grad is not None
    assert set(pictures.grad.unique().tolist()) <= {0.0, 1.0}  # each pixel came along or left at a side
    assert set(shifted.unique().tolist()) <= {-1.0, *pictures.detach().unique().tolist()}


def test_what_comes_in_at_a_side_may_be_the_mirror_image() -> None:
    pictures = torch.arange(64.0).reshape(1, 1, 8, 8)

    shifted = moved(pictures, 0.25, torch.Generator().manual_seed(1), ground=None)

    padded = np.pad(pictures[0, 0].numpy(), 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8)).reshape(-1, 8, 8)
    assert any(np.array_equal(shifted[0, 0].numpy(), window) for window in windows)


def test_the_penalty_is_the_squared_gradient_at_a_picture() -> None:
    """Of a logit that is the sum of squares the gradient is twice the picture."""
    pictures = torch.rand(3, 1, 4, 4)

    class Squares(torch.nn.Module):
        def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
            return pictures.square().sum((1, 2, 3))[:, None]

    found = steepness(Squares(), pictures, torch.zeros(3, dtype=torch.int64))

    torch.testing.assert_close(found, 4 * pictures.square().sum() / 3)


def test_the_same_dice_give_the_same_augmentation() -> None:
    pictures = torch.rand(2, 3, SIDE, SIDE)

    one, other, third = (augment(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_the_frechet_distance_of_scaled_features_is_the_closed_form() -> None:
    """Dowson and Landau 1982: for commuting covariances |Δmean|² + Σ (σ − σ')²."""
    features = np.random.default_rng(0).normal(size=(500, 3)) * (1, 2, 3)
    spread = np.linalg.svd(features - features.mean(0), compute_uv=False) / np.sqrt(499)

    found = frechet_distance(features, 2 * features + 5)

    wanted = ((features.mean(0) + 5) ** 2).sum() + (spread**2).sum()
    assert found == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_is_that_of_all_pairs() -> None:
    """Bińkowski et al. 2018, equation 4, pair by pair."""
    random = np.random.default_rng(0)
    one, other = random.normal(size=(6, 4)), random.normal(size=(5, 4)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in (one, other)]
    across = np.mean([kernel(a, b) for a in one for b in other])
    assert kernel_distance(one, other) == pytest.approx(sum(within) - 2 * across)


def test_the_nearest_picture_is_found_with_its_distance() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 255, (40, 8, 8), np.uint8)
    noisy = pictures[[7, 30]].astype(float) + 3

    distances, places = nearest(noisy, pictures)

    assert places.tolist() == [7, 30]
    np.testing.assert_allclose(distances, 3, atol=0.01)


def test_whole_cells_are_cut_out_inside_the_picture(tmp_path: Path) -> None:
    picture = np.full((200, 300, 3), 230, np.uint8)
    cv2.circle(picture, (60, 60), 40, (120, 60, 200), -1)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    boxes = np.array(
        [[20, 20, 100, 100], [0, 150, 40, 200], [280, 180, 297, 197]], np.float32
    )  # whole, at an edge, small
    smear = Smear(tmp_path / "a.png", (200, 300), boxes, ("WBC", "RBC", "Platelets"))

    cuts, labels = cut([smear])

    assert labels.tolist() == [1, 2]
    assert cuts.shape == (2, SIDE, SIDE, 3)
    assert abs(int((cuts[0, ..., 0] != 230).sum()) / SIDE**2 - np.pi * 40**2 / 96**2) < 0.05
    assert (cuts[1] == 230).all()
    ways = [lying[0] for lying in every_way(cuts[:1])]
    assert len(ways) == 8
    np.testing.assert_array_equal(ways[0], cuts[0])
    np.testing.assert_array_equal(ways[4][:, ::-1], cuts[0])


def test_a_cell_near_the_edge_is_in_the_middle_of_its_cut(tmp_path: Path) -> None:
    picture = np.full((120, 160, 3), 230, np.uint8)
    cv2.circle(picture, (25, 60), 20, (120, 60, 200), -1)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    boxes = np.array([[5, 40, 45, 80]], np.float32)

    (one,), _ = cut([Smear(tmp_path / "a.png", (120, 160), boxes, ("RBC",))])

    rows, columns = np.nonzero(one[..., 0] != 230)
    middle = columns[(columns > 10) & (columns < 54)]
    assert abs(rows.mean() - 31.5) < 1
    assert abs(middle.mean() - 31.5) < 1


def test_an_exported_generator_draws_and_judges_as_pytorch_does(tmp_path: Path) -> None:
    generator, discriminator = networks()
    network = JudgedGenerator(generator, discriminator)
    fitted = fit(generator, discriminator, drawing(), lambda b, _: b, Plan(steps=2, batch=4), tmp_path / "training")
    generator.load_state_dict(torch.load(fitted, weights_only=True)["generator"])
    torch.save(network.state_dict(), tmp_path / "both.pt")
    facts = partial(gan_facts, 4, NAMES, 1, 32)
    entry = Entry("shapes", "generate", "dcgan", "ours", facts, lambda: JudgedGenerator(*networks()), min_size=1)
    file = tmp_path / "shapes.onnx"

    report = export(Request("shapes", str(tmp_path / "both.pt"), out=file, trust=True), entry=entry).report

    assert report.passed, report.broken
    generate = build(file, {"classes": ("square",), "judge": True}, provider="cpu")
    assert isinstance(generate, Generate)
    trained = build_network(entry, tmp_path / "both.pt", trust=True).network.eval()
    for result in generate.map(seed_names(3, seed=1)):
        assert isinstance(result.found, RenderedPicture)
        hot = np.array([0, 1], np.float32)
        row = torch.from_numpy(np.concatenate([latent(result.found.facts["seed"], 4), hot])[None])
        with torch.no_grad():
            wanted = trained(row)
        pixels = ((wanted["image"][0, 0].numpy() + 1) * 127.5).clip(0, 255)
        assert np.abs(result.found.pixels[..., 0] - pixels).max() <= 0.51
        assert result.found.facts["judged_real_share"] == pytest.approx(torch.sigmoid(wanted["real"]).item(), abs=1e-3)
