"""Where the first, coarse matte comes from: how much of each cell of a grid is person, by what kind of network.

matte                  a network that gives just that
semantic-logits        the probability of the class `person`
instances, box-masks   the objects called `person`, all together

Only a network that tells persons apart will do; what is done with the matte doesn't depend on which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import cv2
import numpy as np

from pipelines import boxmasks, instances
from pipelines.card import Card
from pipelines.enlarge import sample, taps
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.masks import PlacedMask
from pipelines.params import InstancesParams
from pipelines.session import Session
from pipelines.types import FloatArray, Image, Tensor

PERSON = "person"
PERSON_SCORE = 0.3  # of the shipped detector; lower ones find people in furniture, higher ones miss people
_GRID = 128  # cells of the longer side to which the masks of segmenters, soft by nature, are brought
_INSTANCE_SCORE = 0.5  # of a person that an instance segmenter of its own finds

# One picture's outputs, how it lay in the input, and itself → (h, w) float32 in [0, 1] over the whole picture.
Source: TypeAlias = Callable[[Sequence[Tensor], Fit, Image], FloatArray]


def source(session: Session) -> Source:
    """Build the function that finds the person in a picture.

    Raises CardError for a model that tells no persons apart or sees only a part of the picture.
    """
    card = session.card
    if card.input.resize.rule == "crop":
        raise CardError(f"model {card.name!r} crops its input, so it does not see the whole picture: portrait must")
    if card.family == "matte":
        return lambda outputs, fit, _: over_picture(outputs[0].reshape(1, *outputs[0].shape[-2:]), fit, None)[0]
    if PERSON not in card.names:
        some = ", ".join(card.names[:4]) or "none"
        raise CardError(f"model {card.name!r} tells no class {PERSON!r} apart (it has {some} …): portrait needs it")
    if card.family == "semantic-logits":
        person = card.names.index(PERSON)
        return lambda outputs, fit, _: _probability(over_picture(outputs[0], fit, _GRID), person)
    if isinstance(session, boxmasks.Paired):
        fill = boxmasks.reader(session, InstancesParams(score=PERSON_SCORE, classes=(PERSON,)))
        return lambda outputs, fit, pixels: _union(fill(outputs, fit, pixels).masks, fit.size)
    if card.family in instances.FAMILIES:
        read = instances.reader(card, InstancesParams(score=_INSTANCE_SCORE, classes=(PERSON,)))
        return lambda outputs, fit, _: _union(read(outputs, fit).masks, fit.size)
    raise CardError(_refusal(card))


def _refusal(card: Card) -> str:
    known = ", ".join(("matte", "semantic-logits", *instances.FAMILIES, boxmasks.FAMILY))
    return f"model {card.name!r} is of family {card.family!r}: portrait reads {known}"


def over_picture(maps: Tensor, fit: Fit, most: int | None) -> FloatArray:
    """Cut the picture's part out of maps over the network's input.

    maps: (C, h, w). most: cells of the longer side, fewer if there are more; None leaves them as they are.
    Returns (C, h', w') float32 over the whole picture.
    """
    ratios = [maps.shape[1 + axis] / fit.padded[axis] for axis in (0, 1)]
    spans = [fit.scaled[axis] * ratios[axis] for axis in (0, 1)]
    shrink = 1.0 if most is None else min(1.0, most / max(spans))
    axes = []
    for axis in (0, 1):
        cells = max(1, round(spans[axis] * shrink))
        shift = fit.shift[1 - axis] * ratios[axis]
        last = min(maps.shape[1 + axis] - 1, int(np.ceil(shift + spans[axis])) - 1)
        axes.append(taps(0, cells, spans[axis] / cells, shift, int(shift), last))
    return sample(maps, *axes)


def _probability(logits: FloatArray, index: int) -> FloatArray:
    """Softmax of one class. logits: (C, h, w). Returns (h, w) float32."""
    exponents = np.exp(logits - logits.max(axis=0))
    probability: FloatArray = exponents[index] / exponents.sum(axis=0)
    return probability


def _union(masks: Sequence[PlacedMask], size: tuple[int, int]) -> FloatArray:
    """All masks together, on a grid coarse enough for their edges, which follow a grid of the network's own."""
    whole = np.zeros(size, np.uint8)
    for mask in masks:
        height, width = mask.pixels.shape
        whole[mask.y : mask.y + height, mask.x : mask.x + width] |= mask.pixels.astype(np.uint8)
    shrink = min(1.0, _GRID / max(size))
    grid = max(1, round(size[1] * shrink)), max(1, round(size[0] * shrink))
    averaged: FloatArray = cv2.resize(  # type: ignore[assignment]
        whole.astype(np.float32), grid, interpolation=cv2.INTER_AREA
    )
    return averaged
