"""How the shipped styles were learnt: what the losses see, and a training that goes on where it was cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.models import squeezenet1_1

from exports.errors import ExportError
from exports.networks.many_styles import ManyStyles
from exports.networks.transformer_net import TransformerNet
from exports.recipes.styles import losses
from exports.recipes.styles.data import crops, middles, photographs
from exports.recipes.styles.recipe import own_styles
from exports.recipes.styles.training import Loud, Plan, Style, fit
from tests.pipelines.test_golden import GOLDEN, photograph

QUICK = Plan(steps=4, sides=((0, 32), (3, 40)), keep=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("loss") / "squeezenet.safetensors"
    safetensors.torch.save_file(squeezenet1_1().state_dict(), path)
    return path


class Interrupted(losses.LossNetwork):
    """A loss network at which somebody presses Ctrl-C."""

    def __init__(self, weights: Path, calls: int) -> None:
        super().__init__(weights)
        self.calls = calls

    def forward(self, picture: torch.Tensor) -> dict[int, torch.Tensor]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return super().forward(picture)


def tensor(name: str) -> torch.Tensor:
    return torch.from_numpy(photograph(name)).permute(2, 0, 1)[None].float()


def test_the_loss_network_gives_what_torchvision_gives(weights: Path) -> None:
    cat = tensor("chelsea")
    whole = squeezenet1_1()
    whole.load_state_dict(safetensors.torch.load_file(weights))
    blue_first = cat[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)

    with torch.no_grad():
        maps = losses.LossNetwork(weights)(cat)
        for layer in {*losses.CONTENT, *losses.STYLE}:
            torch.testing.assert_close(maps[layer], whole.features[: layer + 1].eval()(blue_first))


def test_a_picture_has_its_own_content_and_style_and_not_anothers(weights: Path) -> None:
    judge = losses.LossNetwork(weights)
    with torch.no_grad():
        cat, cup = judge(tensor("chelsea")), judge(tensor("coffee")[..., : tensor("chelsea").shape[2], :])
        wanted = losses.wanted_style(judge, tensor("chelsea"))

        assert losses.content_distance(cat, cat).item() == 0
        assert losses.style_distance(cat, wanted).item() == 0
        assert losses.style_distance(cup, wanted).item() > 0.01


def test_the_colours_of_a_picture_are_part_of_its_style(weights: Path) -> None:
    judge = losses.LossNetwork(weights)
    grey = torch.full((1, 3, 32, 32), 127.5)

    colours = losses.wanted_style(judge, grey)[losses.COLOURS]

    # no colour, and the map of ones: only its product with itself is left
    expected = torch.zeros(4, 4)
    expected[3, 3] = 1
    torch.testing.assert_close(colours, expected)


def test_a_blob_that_is_loud_in_all_maps_costs_and_an_even_picture_does_not() -> None:
    network = TransformerNet(2, 1)
    with Loud(network) as loud, torch.no_grad():
        norm = network.blocks[0].first[2]
        even = torch.randn(1, 8, 40, 40, generator=torch.Generator().manual_seed(0))
        norm(even)
    quiet = loud.penalty()
    even[..., 3:5, 3:5] = 30
    with Loud(network) as loud, torch.no_grad():
        norm(even)

    assert loud.penalty() > 10 * quiet
    assert not norm._forward_pre_hooks  # nobody listens any more


def test_a_training_that_was_cut_off_ends_where_another_does(weights: Path, tmp_path: Path) -> None:
    styles = {"one": Style("coffee.png", 48, 1.0, ""), "two": Style("chelsea.png", 48, 1.0, "")}
    pictures = [photograph("astronaut")]

    def train(plan: Plan, scratch: Path, judge: losses.LossNetwork | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = ManyStyles(tuple(styles), 2, 1)
        done = fit(network, judge or losses.LossNetwork(weights), pictures, GOLDEN, plan, scratch, styles)
        state: dict[str, torch.Tensor] = torch.load(done, weights_only=True)
        return state

    at_once = train(QUICK, tmp_path / "at once")
    with pytest.raises(KeyboardInterrupt):
        train(QUICK, tmp_path / "again", Interrupted(weights, calls=2 + 3 * 2 * 2))  # in the fourth step
    resumed = train(QUICK, tmp_path / "again")
    longer = train(replace(QUICK, steps=6), tmp_path / "longer")

    assert all(torch.equal(resumed[name], at_once[name]) for name in at_once)
    assert any(not torch.equal(longer[name], at_once[name]) for name in at_once)


def test_crops_are_squares_of_the_photographs_and_depend_on_the_dice_alone() -> None:
    pictures = [photograph("coffee"), photograph("chelsea")]

    one, again = (crops(pictures, 3, 24, np.random.default_rng(5)) for _ in range(2))

    assert one.shape == (3, 3, 24, 24)
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert middles(pictures, 32).shape == (2, 3, 32, 32)


def test_too_few_photographs_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "coco128" / "images"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "one.jpg"), photograph("coffee"))

    with pytest.raises(ExportError, match="13 are the least"):
        photographs(tmp_path)


@pytest.mark.parametrize("text", ["mine", "=file.jpg", "mine="])
def test_a_style_of_ones_own_needs_a_name_and_a_file(text: str) -> None:
    with pytest.raises(ExportError, match="NAME=FILE"):
        own_styles([text])
