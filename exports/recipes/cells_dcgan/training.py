"""The training of a conditional DCGAN on single blood cells, of which there are few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exports.networks.smooth_gan import SmoothDiscriminator, SmoothGenerator
from exports.recipes.bccd import NAMES
from exports.recipes.cells_dcgan.data import Cuts
from exports.recipes.gan_training import Numbers, Pictures, Plan, fit, moved

NOISE = 64
WIDTH = 32
PLAN = Plan(steps=7000, batch=16, rate=4e-4, betas=(0.0, 0.99), fade=0.3, memory=0.998, penalty=0.02)
# how often red cells, white cells and platelets are shown: in the smears they are 84, 7 and 8%
SHARES = (0.5, 0.3, 0.2)
SHIFT = 1 / 8  # of the side, at most
LIGHT = 0.05  # of the range [−1, 1], at most, to either side
CONTRAST, COLOUR = 0.05, 0.05  # of the distance to the mean and to grey, at most, to either side


def networks() -> tuple[SmoothGenerator, SmoothDiscriminator]:
    """The two networks as they start."""
    return SmoothGenerator(NOISE, WIDTH, 3, len(NAMES)), SmoothDiscriminator(WIDTH, 3, len(NAMES))


def augment(pictures: Tensor, dice: torch.Generator) -> Tensor:
    """What the discriminator sees a picture through: lighter or darker, more or less contrast and colour, moved.

    pictures: (B, 3, 64, 64) float32 in [−1, 1]. Returns the same, perhaps a little outside of the range.
    """
    light, contrast, colour = (2 * torch.rand(3, len(pictures), 1, 1, 1, generator=dice) - 1).unbind(0)
    grey = pictures.mean(1, keepdim=True)
    tinted = grey + (pictures - grey) * (1 + COLOUR * colour)
    mean = tinted.mean((1, 2, 3), keepdim=True)
    return moved((tinted - mean) * (1 + CONTRAST * contrast) + mean + LIGHT * light, SHIFT, dice, ground=None)


def turned(cuts: Cuts, random: np.random.Generator) -> Tensor:
    """Cuts as the network learns them, each turned by a multiple of 90° and mirrored by chance: a cell has no top.

    cuts: (B, 64, 64, 3) uint8. Returns (B, 3, 64, 64) float32 in [−1, 1].
    """
    ways = random.integers(0, 8, len(cuts)).tolist()
    turned = [np.rot90(one[:, ::-1] if way > 3 else one, way % 4) for one, way in zip(cuts, ways, strict=True)]
    return torch.from_numpy(np.stack(turned).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def trained(cuts: Cuts, labels: NDArray[np.int64], scratch: Path, plan: Plan = PLAN) -> Path:
    """Train on these cuts, or go on; gives the file of weights that `fit` writes."""
    torch.manual_seed(plan.seed)
    generator, discriminator = networks()

    def draw(numbers: Numbers, random: np.random.Generator) -> Tensor:
        return turned(cuts[numbers], random)

    groups = tuple(np.flatnonzero(labels == label) for label in range(len(NAMES)))
    return fit(generator, discriminator, Pictures(groups, SHARES, draw), augment, plan, scratch)
