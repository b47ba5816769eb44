"""The training of one network for four styles: seeded, and taken up again where it was cut off."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from exports.networks.many_styles import ManyStyles
from exports.optimise.losses import total_variation
from exports.recipes.styles import losses
from exports.recipes.styles.data import crops, painting
from exports.recipes.torch_training import follow, save
from pipelines.types import Image

CHANNELS = 16
BLOCKS = 5
SIDE = 384  # pixels of a painting's shorter side
OWN_WEIGHT = 3.0
_LOUD = 3.0  # times the mean energy of a place


@dataclass(frozen=True, slots=True)
class Style:
    """A painting to learn from. file: below `styles/`, or a whole path; side: of the painting's shorter side, pixels,
    which sets how large its strokes are; weight: of the style loss against the content loss; title: for the card.
    """

    file: str
    side: int
    weight: float
    title: str


STYLES = {
    "style-wave": Style("wave.jpg", SIDE, 3.0, "The Great Wave off Kanagawa (Hokusai, 1831)"),
    "style-scream": Style("the_scream.jpg", SIDE, 3.0, "The Scream (Munch, 1893)"),
    "style-shipwreck": Style(
        "the_shipwreck_of_the_minotaur.jpg", SIDE, 3.0, "The Shipwreck of the Minotaur (Turner, c. 1810)"
    ),
    "style-udnie": Style("udnie.jpg", SIDE, 3.0, "Udnie (Picabia, 1913)"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """steps: each takes a crop for every style. sides: of the crops in pixels, each from a step on. rate: Adam's at its
    highest. climb: share of the style's weight by step, linear in between. smooth: weight of the total variation. calm:
    weight of the loud places (`Loud`). memory: of the average that ships. keep: steps between two checkpoints.
    """

    steps: int = 900
    sides: tuple[tuple[int, int], ...] = ((0, 160), (500, 192))
    rate: float = 2e-3
    climb: tuple[tuple[int, float], ...] = ((0, 0.05), (600, 1.0))
    smooth: float = 10.0
    calm: float = 1.0
    memory: float = 0.995
    keep: int = 100
    seed: int = 0

    def share_of_style(self, step: int) -> float:
        """Of the style's full weight, at a step."""
        steps, shares = ([point[axis] for point in self.climb] for axis in (0, 1))
        return float(np.interp(step, steps, shares))


def fit(network: ManyStyles, judge: losses.LossNetwork, pictures: list[Image], paintings: Path, plan: Plan,
        scratch: Path, styles: Mapping[str, Style] = MappingProxyType(STYLES)) -> Path:  # fmt: skip
    """Train, or go on where an earlier call in the same folder was cut off.

    Returns the file of averaged weights, a state dict of the network; one that is finished is not trained again.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    last, done = scratch / "last.pt", scratch / "weights.pt"
    if done.exists():
        return done
    network.train().to(memory_format=torch.channels_last)
    wanted = {name: losses.wanted_style(judge, painting(paintings / s.file, s.side)) for name, s in styles.items()}
    optimizer = torch.optim.Adam(network.parameters(), plan.rate)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["step"]
    since, seen = time.perf_counter(), []
    for step in range(first, plan.steps):
        random = np.random.default_rng([plan.seed, step])
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _share(step, plan.steps)
        side = [side for first, side in plan.sides if step >= first][-1]
        strength = plan.share_of_style(step + 1)
        optimizer.zero_grad()
        terms = {}
        for name, style in styles.items():
            photographs = crops(pictures, 1, side, random).contiguous(memory_format=torch.channels_last)
            with Loud(network.of[name]) as loud:
                parts = _judged(network, judge, photographs, name, wanted[name], random)
            parts += (loud.penalty(),)
            value = parts[0] + strength * style.weight * parts[1] + plan.smooth * parts[2] + plan.calm * parts[3]
            value.backward()  # type: ignore[no-untyped-call]
            terms[name] = [part.item() for part in parts]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        follow(average, network, min(plan.memory, (1 + step) / (10 + step)))
        seen.append(list(terms.values()))
        if (step + 1) % plan.keep == 0 or step + 1 == plan.steps:
            _say(step + 1, styles, np.array(seen).mean(0), time.perf_counter() - since)
            since, seen = time.perf_counter(), []
            save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average,
                  "step": step + 1}, last)  # fmt: skip
    save({name: tensor.contiguous() for name, tensor in average.items()}, done)
    return done


class Loud:
    """Listens for places that are loud in all maps at once, before every instance normalisation behind the halvings.

    A network with instance normalisation learns to paint blobs of huge values into all its maps: they rule the
    variance, and through it how strong everything else comes out. In the picture a blob is a flat grey spot. (The same
    effect in another network: Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020,
    section 2.) So a place with more than three times the mean energy costs something.
    """

    def __init__(self, network: nn.Module) -> None:
        self._norms = [
            module
            for name, module in network.named_modules()
            if isinstance(module, nn.InstanceNorm2d) and not name.startswith("down")
        ]
        self._found: list[Tensor] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Loud:
        self._hooks = [norm.register_forward_pre_hook(self._listen) for norm in self._norms]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def penalty(self) -> Tensor:
        """The mean squared excess over all places of all maps that passed."""
        return torch.stack(self._found).mean()

    def _listen(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps = inputs[0].float()
        variance, mean = torch.var_mean(maps, (2, 3), keepdim=True, correction=0)
        energy = ((maps - mean).square() / (variance + 1e-5)).mean(1)
        self._found.append((energy - _LOUD).clamp_min(0).square().mean())


def start(network: ManyStyles) -> ManyStyles:
    """Let a network's first pictures be nearly grey: from wild colours it needs a hundred steps to come back."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("up.7.weight"):
                parameter.mul_(0.1)
            elif name.endswith("up.7.bias"):
                parameter.fill_(0.5)
    return network


def _judged(network: ManyStyles, judge: losses.LossNetwork, photographs: Tensor, style: str,
            wanted: dict[int, Tensor], random: np.random.Generator) -> tuple[Tensor, ...]:  # fmt: skip
    """Content, style and smoothness of photographs repainted in a style."""
    # the loss network looks at every second pixel only: without a shift it never sees what stands between them
    top, left = random.integers(2, size=2).tolist()
    with torch.autocast("cpu", torch.bfloat16):
        painted = network(photographs, style)
        maps = judge(painted[..., top:, left:])
        with torch.no_grad():
            there = judge(photographs[..., top:, left:])
    content = losses.content_distance(maps, there)
    return content, losses.style_distance(maps, wanted), total_variation(painted.float())


def _share(step: int, steps: int) -> float:
    """Of the highest rate: a short climb, level, then down to nothing over the last third."""
    left = (steps - step) / (steps / 3)
    return min(1.0, (step + 1) / 50) * (1.0 if left > 1 else (1 - math.cos(math.pi * left)) / 2)


def _say(
    step: int, styles: Iterable[str], means: np.ndarray[tuple[int, ...], np.dtype[np.float64]], seconds: float
) -> None:
    said = "; ".join(
        f"{name} content {row[0]:.3f} style {row[1]:.4f} steps {row[2]:.4f} loud {row[3]:.4f}"
        for name, row in zip(styles, means, strict=True)
    )
    print(f"step {step}: {said}; {seconds:.0f} s", flush=True)
