"""The training of the smear segmenter alone; `recipe.py` calls it, then exports and measures.

nice -n 5 python -m exports.recipes.smears_semantic.training SCRATCH
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
from exports.recipes import bccd
from exports.recipes.smears_fasterrcnn.training import relit
from exports.recipes.smears_masks import CLASSES, UNJUDGED, semantic_mask
from exports.recipes.torch_training import Schedule, fit, give_imagenet
from pipelines.image import Limits, decode
from pipelines.types import Image

ENTRY = "unet-efficientnet-lite0"
SCHEDULE = Schedule(epochs=26, batch=8, rate=3e-3, body_rate=5e-4)
_CUT = (256, 320)  # pixels of a cut-out
_SCALES = (0.62, 1.05)  # of the smear; the product shows it at 0.8
_WEIGHTS = (1.0, 1.0, 1.0, 2.0)  # of the classes: platelets are 1 pixel in 300
_MEAN, _STD = 127.0, 128.0


@dataclass(frozen=True, slots=True)
class Example:
    """pixels: (H, W, 3) uint8 RGB. classes: (H, W) uint8, index into `smears_masks.CLASSES`, or `UNJUDGED`."""

    pixels: Image
    classes: np.ndarray


def examples(smears: Sequence[bccd.Smear]) -> list[Example]:
    """Decode the smears and derive their class maps."""
    made = []
    for smear in smears:
        pixels = decode(smear.path.read_bytes(), Limits()).pixels
        made.append(Example(pixels, semantic_mask(pixels, smear.boxes, smear.labels)))
    return made


def varied(example: Example, random: np.random.Generator) -> Example:
    """Scale, cut, turn and mirror a smear, and change its light a little. Returns `_CUT` pixels."""
    scale = random.uniform(*_SCALES)
    if random.random() < 0.5:
        example = Example(example.pixels.transpose(1, 0, 2), example.classes.T)
    size = tuple(max(round(side * scale), least) for side, least in zip(example.classes.shape, _CUT, strict=True))
    pixels = cv2.resize(np.ascontiguousarray(example.pixels), size[::-1], interpolation=cv2.INTER_LINEAR)
    classes = cv2.resize(np.ascontiguousarray(example.classes), size[::-1], interpolation=cv2.INTER_NEAREST)
    top, left = (int(random.integers(0, side - cut + 1)) for side, cut in zip(size, _CUT, strict=True))
    window = slice(top, top + _CUT[0]), slice(left, left + _CUT[1])
    steps = [int(step) for step in random.choice([-1, 1], 2)]
    seen = np.asarray(pixels[window][:: steps[0], :: steps[1]], np.uint8)
    return Example(relit(seen, random), classes[window][:: steps[0], :: steps[1]])


def loss_of(pictures: Sequence[Example]) -> Any:
    """Give what `fit` minimises: cross-entropy, and one minus the mean overlap of the classes (Dice)."""
    weights = torch.tensor(_WEIGHTS)

    def loss(network: Any, chosen: list[int], random: np.random.Generator) -> Tensor:
        seen = [varied(pictures[i], random) for i in chosen]
        pixels = np.stack([one.pixels for one in seen]).transpose(0, 3, 1, 2)
        images = (torch.from_numpy(pixels).float() - _MEAN) / _STD
        wanted = torch.from_numpy(np.stack([one.classes for one in seen])).long()
        logits = network(images.to(memory_format=torch.channels_last))["out"]
        entropy = functional.cross_entropy(logits, wanted, weights, ignore_index=UNJUDGED)
        return entropy + 0.5 * _missed(logits, wanted)

    return loss


def trained(scratch: Path, data: Path | None = None, schedule: Schedule = SCHEDULE) -> Path:
    """Train on the training smears, from ImageNet weights in the backbone. Returns the file of weights."""
    torch.manual_seed(schedule.seed)
    network: Any = find(ENTRY).network()
    give_imagenet(network.body.body)
    pictures = examples(bccd.load("train", data))
    return fit(network, network.body, len(pictures), loss_of(pictures), schedule, scratch)


def _missed(logits: Tensor, wanted: Tensor) -> Tensor:
    """1 − the mean Dice coefficient over the batch (Milletari et al., "V-Net", 3DV 2016, section 3)."""
    judged = (wanted != UNJUDGED)[:, None]
    share = logits.softmax(1) * judged
    truth = functional.one_hot(wanted.clamp(max=len(CLASSES) - 1), len(CLASSES)).permute(0, 3, 1, 2) * judged
    both, either = (share * truth).sum((0, 2, 3)), share.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (either + 1)).mean()


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(trained(Path(sys.argv[1])))
