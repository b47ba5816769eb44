"""A training loop for our own networks on one thread: seeded, averaged, and taken up again where it was cut off.

What happens in an epoch depends on the seed and the epoch's number only, so a training that was interrupted ends where
an uninterrupted one would have. The weights that count are the average over the steps, never the best by the pictures
the network is judged on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from exports.build import build
from exports.catalog import find

# Loss of a step: the network, the numbers of the pictures in it, and the dice for everything else.
Loss: TypeAlias = Callable[[Any, list[int], np.random.Generator], Tensor]

_WARM_UP = 60  # steps in which the rate climbs
_CLIP = 10.0  # norm of the gradient


@dataclass(frozen=True, slots=True)
class Schedule:
    """rate: AdamW's at its highest, for the new layers; body_rate: for the pretrained ones, which stay as they are
    where a layer does not ask for gradients. memory: share of the average that a step leaves in place.
    """

    epochs: int
    batch: int
    rate: float
    body_rate: float
    weight_decay: float = 0.02
    memory: float = 0.995
    seed: int = 0


def fit(network: nn.Module, body: nn.Module, count: int, loss: Loss, schedule: Schedule, scratch: Path) -> Path:
    """Train, or go on where an earlier call in the same folder was cut off.

    network: with its first weights. body: the pretrained part of it, whose batch normalisation keeps its statistics.
    count: of pictures. scratch: a folder for this training alone.
    Returns the file of averaged weights, a state dict; one that is finished is not trained again.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    last, done = scratch / "last.pt", scratch / "weights.pt"
    if done.exists():
        return done
    network.to(memory_format=torch.channels_last)  # twice as fast on this CPU
    optimizer = _optimizer(network, body, schedule)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    steps = math.ceil(count / schedule.batch)
    first = 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["epoch"]
    for epoch in range(first, schedule.epochs):
        random = np.random.default_rng([schedule.seed, epoch])
        torch.manual_seed(schedule.seed * 1000 + epoch)
        network.train()
        body.eval()
        start, total = time.perf_counter(), 0.0
        for number, chosen in enumerate(_batches(count, schedule.batch, random)):
            step = epoch * steps + number
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * _share(step, steps * schedule.epochs)
            value = loss(network, chosen, random)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            total += value.item()
            follow(average, network, min(schedule.memory, (1 + step) / (10 + step)))
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
        save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average,
              "epoch": epoch + 1}, last)  # fmt: skip
    save({name: tensor.contiguous() for name, tensor in average.items()}, done)
    return done


def give_imagenet(body: nn.Module) -> None:
    """Put EfficientNet-Lite0's ImageNet weights into a body cut out of it, in place."""
    whole = build(find("efficientnet-lite0")).network.state_dict()
    body.load_state_dict({name: whole[name] for name in body.state_dict()})
    body.requires_grad_(True)


def freeze(layers: Iterable[nn.Module]) -> None:
    """Let the training leave these layers as they are."""
    for layer in layers:
        layer.requires_grad_(False)


def _optimizer(network: nn.Module, body: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    own = {id(parameter) for parameter in body.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:  # biases and scales are not decayed
            groups.setdefault((id(parameter) in own, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "highest": schedule.body_rate if in_body else schedule.rate,
                "weight_decay": schedule.weight_decay if decayed else 0.0,
            }
            for (in_body, decayed), parameters in groups.items()
        ]
    )


def _share(step: int, steps: int) -> float:
    """Of the highest rate: a short climb, then half a cosine down to nothing."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def _batches(count: int, size: int, random: np.random.Generator) -> Iterator[list[int]]:
    order = random.permutation(count).tolist()
    return (order[start : start + size] for start in range(0, count, size))


def follow(average: dict[str, Tensor], network: nn.Module, memory: float) -> None:
    """Move an average one step towards a network's state, in place. memory: the share of it that stays."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - memory)
            else:
                average[name].copy_(tensor)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    half = path.with_suffix(".part")
    torch.save(state, half)
    half.replace(path)
