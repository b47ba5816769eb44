"""A training loop for small GANs on one thread: seeded, averaged, and taken up again where it was cut off.

The loss is the non-saturating one of Goodfellow et al. (arXiv:1406.2661, section 3) on logits. The discriminator sees
real and generated pictures through the same random augmentation, which lets gradients through, so that it can't learn a
small data set by heart (Zhao et al., "Differentiable augmentation for data-efficient GAN training", arXiv:2006.10738,
section 3.2). Its gradient at real pictures can be penalised (R1: Mescheder, Geiger, Nowozin, "Which training methods
for GANs do actually converge?", arXiv:1801.04406, section 4.1), every few steps and so much the more (Karras et al.,
"Analyzing and improving the image quality of StyleGAN", arXiv:1912.04958, section 3.1). What ships is the average of
the generator over its steps (Yazıcı et al., arXiv:1806.04498), whose batch normalisation is counted again at the end.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from exports.networks.gan import AnyDiscriminator, AnyGenerator
from exports.recipes.torch_training import follow, save

Numbers: TypeAlias = NDArray[np.int64]
# Changes a batch (B, C, H, W) the same way whatever it shows, differentiably.
Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
# Gives the pictures of a batch: their numbers and the dice → (B, C, H, W) float32 in [−1, 1].
Draw: TypeAlias = Callable[[Numbers, np.random.Generator], Tensor]

_REPORT = 100  # steps between two lines of the log
_KEEP = 100  # steps between two checkpoints
_EVERY = 8  # steps between two penalties
_SETTLE = 50  # batches the average's batch normalisation is counted on


@dataclass(frozen=True, slots=True)
class Plan:
    """steps: of both networks, one after the other. rate, betas: Adam's (β as in the DCGAN paper, section 4).
    fade: share of the steps, the last ones, in which the rate falls to nothing.
    memory: share of the averaged generator that a step leaves in place.
    penalty: half of it times the squared gradient at a real picture is added to the discriminator's loss (R1's γ).
    strict: the discriminator also learns to refuse real pictures of another class than it is told, which makes the
    generator heed the class (Reed et al., arXiv:1605.05396, section 4.2).
    """

    steps: int
    batch: int
    rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    fade: float = 0.0
    memory: float = 0.998
    penalty: float = 0.0
    strict: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is learnt. groups: for each class the numbers of its pictures; shares: how often it is drawn, summing to 1.

    draw: gives a batch of pictures by their numbers.
    """

    groups: tuple[Numbers, ...]
    shares: tuple[float, ...]
    draw: Draw

    def batch(self, size: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch: pictures and their labels."""
        classes = random.choice(len(self.shares), size, p=self.shares)
        chosen = np.array([self.groups[c][random.integers(len(self.groups[c]))] for c in classes])
        return self.draw(chosen, random), torch.from_numpy(classes.astype(np.int64))


def fit(
    generator: AnyGenerator, discriminator: AnyDiscriminator, pictures: Pictures, augment: Augment, plan: Plan,
    scratch: Path,
) -> Path:  # fmt: skip
    """Train both, or go on where an earlier call in the same folder was cut off.

    scratch: a folder for this training alone; with more steps in the plan it goes on from there too.
    Returns the file of weights: {"generator": the average's state dict, "discriminator": its own}.
    Raises ValueError if the folder's training is beyond the plan already.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    last, done = scratch / "last.pt", scratch / f"weights-{plan.steps}.pt"
    if done.exists():
        return done
    torch.manual_seed(plan.seed)
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)  # with bfloat16 twice as fast on this CPU
    average = copy.deepcopy(generator)
    pair = [torch.optim.Adam(n.parameters(), plan.rate, plan.betas) for n in (generator, discriminator)]
    first = 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        for name, one in {"generator": generator, "discriminator": discriminator, "average": average}.items():
            one.load_state_dict(state[name])
        for optimizer, kept in zip(pair, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        first = state["step"]
        if first > plan.steps:
            raise ValueError(f"{last} is at step {first}, the plan ends at {plan.steps}: choose another folder")
    start, totals = time.perf_counter(), torch.zeros(2)
    for step in range(first, plan.steps):
        for optimizer in pair:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * _share(plan, step)
        totals += _step(generator, discriminator, pair, pictures, augment, plan, step)
        follow(average.state_dict(), generator, min(plan.memory, (1 + step) / (10 + step)))
        if (step + 1) % _REPORT == 0:
            took, start = time.perf_counter() - start, time.perf_counter()
            judged, made = (totals / _REPORT).tolist()
            print(f"step {step + 1}: discriminator {judged:.3f}, generator {made:.3f}, {took:.0f} s", flush=True)
            totals.zero_()
        if (step + 1) % _KEEP == 0:
            save({"generator": generator.state_dict(), "discriminator": discriminator.state_dict(),
                  "average": average.state_dict(), "optimizers": [o.state_dict() for o in pair],
                  "step": step + 1}, last)  # fmt: skip
    settle(average, pictures, plan)
    save({"generator": average.state_dict(), "discriminator": discriminator.state_dict()}, done)
    return done


def settle(generator: AnyGenerator, pictures: Pictures, plan: Plan) -> None:
    """Count the batch normalisation's statistics anew, in place: an average of weights has statistics of its own."""
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    random, dice = np.random.default_rng([plan.seed, plan.steps]), torch.Generator().manual_seed(plan.seed)
    generator.train()
    with torch.no_grad():
        for _ in range(_SETTLE):
            labels = torch.from_numpy(random.choice(len(pictures.shares), plan.batch, p=pictures.shares))
            generator(torch.randn(plan.batch, generator.noise, generator=dice), labels)
    for norm in norms:
        norm.momentum = 0.1
    generator.eval()


def moved(pictures: Tensor, shift: float, dice: torch.Generator, ground: float | None = -1.0) -> Tensor:
    """Move every picture of a batch by up to this share of its side, another way each, in whole pixels.

    What comes in at a side is `ground`, or the picture's mirror image where that is None.
    """
    batch, _, height, width = pictures.shape
    most = max(1, round(shift * height))
    down, right = torch.randint(0, 2 * most + 1, (2, batch), generator=dice)
    way = {"mode": "reflect"} if ground is None else {"value": ground}
    padded = nn.functional.pad(pictures, (most, most, most, most), **way)
    rows = (down[:, None] + torch.arange(height))[:, :, None]  # (B, H, 1)
    columns = (right[:, None] + torch.arange(width))[:, None, :]  # (B, 1, W)
    return padded.permute(0, 2, 3, 1)[torch.arange(batch)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def _step(
    generator: AnyGenerator, discriminator: AnyDiscriminator, pair: list[torch.optim.Adam], pictures: Pictures,
    augment: Augment, plan: Plan, step: int,
) -> Tensor:  # fmt: skip
    """One step of the discriminator and one of the generator. Returns both losses; all dice hang on the step alone."""
    random, dice = np.random.default_rng([plan.seed, step]), torch.Generator().manual_seed(plan.seed * 10**7 + step)
    real, labels = pictures.batch(plan.batch, random)
    real = real.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(torch.randn(plan.batch, generator.noise, generator=dice), labels).float()
        # in batches of their own: of a mixed one, batch normalisation would tell the discriminator too much
        seen = augment(real, dice)
        genuine, forged = (discriminator(one, labels).float() for one in (seen, augment(made.detach(), dice)))
        judged = softplus(-genuine).mean() + softplus(forged).mean()
        if plan.strict:
            classes = len(pictures.groups)
            others = (labels + torch.randint(1, classes, labels.shape, generator=dice)) % classes
            mistaken = softplus(discriminator(seen, others).float()).mean()
            judged = judged + (mistaken - softplus(forged).mean()) / 2
    if plan.penalty and step % _EVERY == 0:
        judged = judged + plan.penalty / 2 * _EVERY * steepness(discriminator, seen, labels)
    _descend(pair[1], judged)
    discriminator.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(augment(made, dice), labels).float()
    fooled = softplus(-logits).mean()
    _descend(pair[0], fooled)
    discriminator.requires_grad_(True)
    return torch.stack([judged.detach(), fooled.detach()])


def steepness(discriminator: nn.Module, pictures: Tensor, labels: Tensor) -> Tensor:
    """The squared norm of the logit's gradient at a picture, the mean over a batch; in float32, as squares want it."""
    pictures = pictures.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(pictures, labels).sum(), pictures, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()


def _share(plan: Plan, step: int) -> float:
    """Of the full rate."""
    return min(1.0, (plan.steps - step) / (plan.fade * plan.steps)) if plan.fade else 1.0


def _descend(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward([loss])
    optimizer.step()
