"""The training of a conditional DCGAN on MNIST's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exports.networks.dcgan import Discriminator, Generator, Size
from exports.recipes.gan_training import Numbers, Pictures, Plan, fit

NOISE = 64
SIZE: Size = 32  # a digit's 28×28 with two rows of ground around it
PLAN = Plan(steps=1300, batch=64, rate=4e-4, memory=0.995, strict=True)
NAMES = tuple("0123456789")

Digits = NDArray[np.uint8]  # (N, 28, 28), 0 = ground, 255 = ink


def networks() -> tuple[Generator, Discriminator]:
    """The two networks as they start."""
    classes = len(NAMES)
    return (
        Generator(noise=NOISE, width=32, channels=1, classes=classes, size=SIZE),
        Discriminator(width=32, channels=1, classes=classes, size=SIZE),
    )


def framed(digits: Digits) -> Tensor:
    """Digits as the networks know them: (N, 1, 32, 32) float32, −1 = ground, 1 = ink."""
    padded = np.pad(digits, ((0, 0), (2, 2), (2, 2)))
    return torch.from_numpy(padded[:, None].astype(np.float32) / 127.5 - 1)


def trained(digits: Digits, labels: NDArray[np.uint8], scratch: Path, plan: Plan = PLAN) -> Path:
    """Train on these digits, or go on; gives the file of weights that `fit` writes."""
    torch.manual_seed(plan.seed)
    generator, discriminator = networks()

    def draw(numbers: Numbers, _: np.random.Generator) -> Tensor:
        return framed(digits[numbers])

    groups = tuple(np.flatnonzero(labels == digit) for digit in range(len(NAMES)))
    pictures = Pictures(groups, (1 / len(NAMES),) * len(NAMES), draw)
    return fit(generator, discriminator, pictures, lambda batch, _: batch, plan, scratch)
