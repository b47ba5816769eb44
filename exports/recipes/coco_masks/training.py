"""The training of the mask head alone; `recipe.py` calls it, then exports and measures.

nice -n 5 python -m exports.recipes.coco_masks.training SCRATCH
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
from torch.nn import functional

from exports.catalog import find
from exports.recipes.coco_masks.data import Outlined, load
from exports.recipes.smears_fasterrcnn.training import relit
from exports.recipes.torch_training import Schedule, fit, freeze, give_imagenet
from pipelines.boxmasks import cut_out, surroundings
from pipelines.types import FloatArray, Image, Mask

ENTRY = "mask-head-efficientnet-lite0"
SCHEDULE = Schedule(epochs=20, batch=16, rate=2e-3, body_rate=2e-4, weight_decay=0.05)
_JITTER = 0.08  # of the box's sides, a standard deviation: about how far the shipped detector is off
_MEAN, _STD = 127.0, 128.0


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a photograph. box: (4,) float32. mask: (H, W) bool."""

    pixels: Image
    box: FloatArray
    mask: Mask


def objects(photographs: Sequence[Outlined]) -> list[Object]:
    """Every object of these photographs."""
    return [
        Object(photo.pixels, box, mask)
        for photo in photographs
        for box, mask in zip(photo.boxes, photo.masks, strict=True)
    ]


def varied(thing: Object, side: int, context: float, random: np.random.Generator) -> tuple[Image, FloatArray]:
    """Cut an object out by a box that is a little off, mirrored or not, in a little other light.

    Returns (side, side, 3) uint8 and (side / 2, side / 2) float32, the share of each cell the object covers.
    """
    sides = np.tile(thing.box[2:] - thing.box[:2], 2)
    box = thing.box + (random.normal(0, _JITTER, 4) * sides).clip(-0.25 * sides, 0.25 * sides)
    rectangle = surroundings(box.astype(np.float32), context * random.uniform(0.95, 1.1))
    pixels = cut_out(thing.pixels, rectangle, side)
    covered = _cover(thing.mask, rectangle, side // 2)
    if random.random() < 0.5:
        pixels, covered = pixels[:, ::-1], covered[:, ::-1]
    return relit(pixels, random), np.ascontiguousarray(covered)


def loss_of(things: Sequence[Object], side: int, context: float) -> Any:
    """Give what `fit` minimises: cross-entropy a pixel, and one minus the overlap of each object (Dice)."""

    def loss(network: Any, chosen: list[int], random: np.random.Generator) -> Tensor:
        pairs = [varied(things[i], side, context, random) for i in chosen]
        pixels = np.stack([pixels for pixels, _ in pairs]).transpose(0, 3, 1, 2)
        images = ((torch.from_numpy(pixels).float() - _MEAN) / _STD).to(memory_format=torch.channels_last)
        wanted = torch.from_numpy(np.stack([covered for _, covered in pairs]))[:, None]
        logits = network.logits(images)
        share = logits.sigmoid()
        both, either = (share * wanted).sum((1, 2, 3)), share.sum((1, 2, 3)) + wanted.sum((1, 2, 3))
        missed: Tensor = 1 - ((2 * both + 1) / (either + 1)).mean()
        return functional.binary_cross_entropy_with_logits(logits, wanted) + missed

    return loss


def trained(scratch: Path, data: Path | None = None, schedule: Schedule = SCHEDULE) -> Path:
    """Train on the photographs that are not held out. data: the folder of coco128. Returns the file of weights."""
    torch.manual_seed(schedule.seed)
    entry = find(ENTRY)
    network: Any = entry.network()
    body = network.body.body
    give_imagenet(body)
    freeze([body.conv_stem, body.bn1, *body.blocks[:3]])  # too few photographs to learn edges from
    things = objects(load(held_out=False, folder=data))
    facts = entry.facts()
    loss = loss_of(things, facts.input.height, float(facts.decode["context"]))
    return fit(network, network.body, len(things), loss, schedule, scratch)


def _cover(mask: Mask, rectangle: tuple[int, int, int, int], side: int) -> FloatArray:
    """How much of each cell of a grid over the rectangle a mask covers. Returns (side, side) float32."""
    left, top, right, bottom = rectangle
    height, width = mask.shape
    whole = np.zeros((bottom - top, right - left), np.uint8)
    rows, columns = slice(max(0, top), min(bottom, height)), slice(max(0, left), min(right, width))
    whole[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = mask[rows, columns]
    shrinking = whole.size > side * side
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(whole * np.float32(1), (side, side), interpolation=how), np.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(trained(Path(sys.argv[1])))
