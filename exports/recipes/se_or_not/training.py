"""One small residual network with and without squeeze and excitation, trained alike: does it pay?

    nice -n 19 python -m exports.recipes.se_or_not.training SCRATCH

Trains what is missing in the scratch folder and prints the accuracies; a run that was cut off goes on where it was.
Twins of a seed learn from the same pictures, in the same order, jittered the same way; only their first weights differ.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from exports.networks.resnet_small import resnet_small
from exports.recipes.shipping import data_folder, put
from exports.recipes.torch_training import Schedule, fit

KINDS = {"plain": False, "with SE": True}
SEEDS = (0, 1, 2)
BLOCKS = 2  # a stage: 14 layers
SIDE = 28  # pixels
EACH = 200  # training pictures of a digit: few, so that there is something left to get wrong
SCHEDULE = Schedule(epochs=30, batch=50, rate=4e-3, body_rate=0.0)
TURN, SHEAR, SHIFT = 40.0, 0.3, 3.0  # degrees, slope and pixels at most
SCALE = (0.6, 1.2)
_TOGETHER = 500
_TEST_JITTER = 20_262  # the seed of the test pictures' jitter, the same for every network

Digits = NDArray[np.uint8]  # (N, 28, 28), 0 = ground, 255 = ink


@dataclass(frozen=True, slots=True)
class Labelled:
    """digits: (N, 28, 28) uint8. classes: (N,) int64, 0 to 9."""

    digits: Digits
    classes: NDArray[np.int64]


def mnist(folder: Path | None = None) -> tuple[Labelled, Labelled]:
    """MNIST's training and test pictures. folder: the one that holds `mnist.npz`; the data folder by default."""
    with np.load((folder or data_folder()) / "mnist.npz") as archive:
        parts = [Labelled(archive[f"{name}_x"], archive[f"{name}_y"].astype(np.int64)) for name in ("train", "test")]
    return parts[0], parts[1]


def some_of(data: Labelled, each: int, seed: int) -> Labelled:
    """Draw so many pictures of every class."""
    chance = np.random.default_rng(seed)
    rows = [chance.choice(np.flatnonzero(data.classes == c), each, replace=False) for c in np.unique(data.classes)]
    chosen = np.concatenate(rows)
    return Labelled(data.digits[chosen], data.classes[chosen])


def jittered(digits: Digits, chance: np.random.Generator) -> Tensor:
    """Turn, shear, scale and move each digit by chance. Returns (N, 1, 28, 28) float32, 0 = ground, 1 = ink."""
    count = len(digits)
    turn = np.radians(chance.uniform(-TURN, TURN, count))
    shear, scale = chance.uniform(-SHEAR, SHEAR, count), 1 / chance.uniform(*SCALE, count)
    cosine, sine = np.cos(turn), np.sin(turn)
    # from a place in the new picture to the one in the old, as grid_sample wants it: a turn after a shear
    across = np.stack([cosine, shear * cosine - sine], 1) * scale[:, None]
    down = np.stack([sine, shear * sine + cosine], 1) * scale[:, None]
    shift = chance.uniform(-SHIFT, SHIFT, (count, 2, 1)) * 2 / SIDE
    matrices = np.concatenate([np.stack([across, down], 1), shift], axis=2).astype(np.float32)
    pictures = torch.from_numpy(digits[:, None]).float() / 255
    grid = functional.affine_grid(torch.from_numpy(matrices), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, align_corners=False)


def network(kind: str, seed: int) -> nn.Module:
    """The network of a kind with the first weights of a seed."""
    torch.manual_seed(seed)
    return resnet_small(10, n=BLOCKS, channels=1, se=KINDS[kind])


def loss_of(data: Labelled) -> Callable[[Any, list[int], np.random.Generator], Tensor]:
    """Give what `fit` minimises: cross-entropy of jittered digits."""

    def loss(one: Any, chosen: list[int], chance: np.random.Generator) -> Tensor:
        pictures = jittered(data.digits[chosen], chance).to(memory_format=torch.channels_last)
        return functional.cross_entropy(one(pictures), torch.from_numpy(data.classes[chosen]))

    return loss


def accuracy(one: nn.Module, test: Labelled) -> float:
    """Share of the test pictures, each jittered once and for all networks alike, that get their digit."""
    chance = np.random.default_rng(_TEST_JITTER)
    one.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(test.digits), _TOGETHER):
            pictures = jittered(test.digits[start : start + _TOGETHER], chance)
            guessed = one(pictures.to(memory_format=torch.channels_last)).argmax(1).numpy()
            right += int((guessed == test.classes[start : start + _TOGETHER]).sum())
    return right / len(test.digits)


def accuracies(
    train: Labelled, test: Labelled, scratch: Path, *, seeds: Sequence[int] = SEEDS, each: int = EACH,
    schedule: Schedule = SCHEDULE,
) -> dict[str, list[float]]:  # fmt: skip
    """Train every kind with every seed and measure it; what the scratch folder holds is not trained or measured again.

    Returns the accuracies of each kind, in the order of the seeds.
    """
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in seeds:
        drawn = some_of(train, each, seed)
        for kind in KINDS:
            folder = scratch / f"{kind.replace(' ', '-')}-{seed}"
            kept = folder / "accuracy.json"
            if not kept.exists():
                one = network(kind, seed)
                body = nn.Identity()  # nothing of it is pretrained
                weights = fit(one, body, len(drawn.digits), loss_of(drawn), replace(schedule, seed=seed), folder)
                one.load_state_dict(torch.load(weights, weights_only=True))
                put(kept, json.dumps(accuracy(one, test)).encode())
            found[kind].append(float(json.loads(kept.read_text())))
            print(f"seed {seed}, {kind}: {found[kind][-1]:.4f}", flush=True)
    return found


def told(found: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Each kind's accuracy in words: the mean, and the least and most of the seeds."""
    return {
        kind: f"{statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"
        for kind, values in found.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind, words in told(accuracies(*mnist(), Path(sys.argv[1]))).items():
        print(f"{kind}: {words}")
