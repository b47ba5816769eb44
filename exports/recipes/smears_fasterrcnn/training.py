"""The training of the two-stage smear detector alone; `recipe.py` calls it, then exports and measures.

nice -n 5 python -m exports.recipes.smears_fasterrcnn.training SCRATCH
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from exports.catalog import find
from exports.recipes import bccd
from exports.recipes.torch_training import Schedule, fit, freeze, give_imagenet
from pipelines.image import Limits, decode
from pipelines.types import Boxes, Image

ENTRY = "fasterrcnn-efficientnet-lite0-fpn"
SCHEDULE = Schedule(epochs=8, batch=2, rate=5e-4, body_rate=1e-4)
_SIDES = (352, 384, 416)  # the shorter side, another one a step
_LEAST = 6.0  # pixels: what is left of a box at a crop's edge must be wider and higher
_CROPPED = 0.5  # share of pictures that are seen in part
_LIGHT, _CONTRAST, _TINT = 18.0, 0.15, 0.06  # largest change: levels; share of the contrast; share, a channel each


@dataclass(frozen=True, slots=True)
class Example:
    """pixels: (H, W, 3) uint8 RGB. boxes: (N, 4) float32. labels: (N,) int64, 1 = red cell, as torchvision counts."""

    pixels: Image
    boxes: Boxes
    labels: np.ndarray


def examples(smears: Sequence[bccd.Smear]) -> list[Example]:
    """Decode the smears."""
    return [
        Example(
            decode(smear.path.read_bytes(), Limits()).pixels,
            smear.boxes,
            np.array([1 + bccd.LABELS.index(label) for label in smear.labels], np.int64),
        )
        for smear in smears
    ]


def varied(example: Example, random: np.random.Generator) -> Example:
    """Turn, mirror and cut a smear, which has no up and down, and change its light a little."""
    pixels, boxes, labels = example.pixels, example.boxes, example.labels
    if random.random() < _CROPPED:
        pixels, boxes, labels = _crop(pixels, boxes, labels, random)
    if random.random() < 0.5:
        pixels, boxes = pixels[:, ::-1], _mirrored(boxes, pixels.shape[1])
    if random.random() < 0.5:  # turned by a quarter and mirrored: x and y change places
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    if random.random() < 0.5:
        pixels, boxes = pixels[:, ::-1], _mirrored(boxes, pixels.shape[1])
    return Example(relit(pixels, random), np.ascontiguousarray(boxes), labels)


def relit(pixels: Image, random: np.random.Generator) -> Image:
    """Change light, contrast and tint of a picture a little."""
    gain = (1 + random.uniform(-_CONTRAST, _CONTRAST)) * (1 + random.uniform(-_TINT, _TINT, 3))
    shifted = (pixels.astype(np.float32) - 128) * gain.astype(np.float32) + 128 + random.uniform(-_LIGHT, _LIGHT)
    return np.asarray(np.clip(shifted, 0, 255), np.uint8)


def loss_of(pictures: Sequence[Example]) -> Any:
    """Give what `fit` minimises: torchvision's four losses, added."""

    def loss(network: Any, chosen: list[int], random: np.random.Generator) -> Tensor:
        seen = [varied(pictures[i], random) for i in chosen]
        network.transform.min_size, network.transform.max_size = (int(random.choice(_SIDES)),), 640
        images = [torch.from_numpy(np.ascontiguousarray(one.pixels.transpose(2, 0, 1))).float() / 255 for one in seen]
        targets = [{"boxes": torch.from_numpy(one.boxes), "labels": torch.from_numpy(one.labels)} for one in seen]
        losses: dict[str, Tensor] = network(images, targets)
        total: Tensor = torch.stack(list(losses.values())).sum()
        return total

    return loss


def trained(scratch: Path, data: Path | None = None, schedule: Schedule = SCHEDULE) -> Path:
    """Train on the training smears, from ImageNet weights in the backbone. Returns the file of weights."""
    torch.manual_seed(schedule.seed)
    network: Any = find(ENTRY).network()
    body = network.backbone.body.body
    give_imagenet(body)
    freeze([body.conv_stem, body.bn1, *body.blocks[:2]])  # edges and colours are the same everywhere
    pictures = examples(bccd.load("train", data))
    return fit(network, network.backbone.body, len(pictures), loss_of(pictures), schedule, scratch)


def _crop(pixels: Image, boxes: Boxes, labels: np.ndarray, random: np.random.Generator) -> tuple[Image, Boxes, Any]:
    height, width = pixels.shape[:2]
    share = random.uniform(0.7, 1.0)
    tall, wide = int(height * share), int(width * share)
    top, left = int(random.integers(0, height - tall + 1)), int(random.integers(0, width - wide + 1))
    corner, far = np.array([left, top, left, top], np.float32), np.array([wide, tall, wide, tall], np.float32)
    cut = (boxes - corner).clip(0, far)
    kept = ((cut[:, 2:] - cut[:, :2]) > _LEAST).all(axis=1)
    return pixels[top : top + tall, left : left + wide], cut[kept], labels[kept]


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(trained(Path(sys.argv[1])))
