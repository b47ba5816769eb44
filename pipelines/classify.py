"""Read a classifier's output: the most probable classes of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.card import Card
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.params import ClassifyParams
from pipelines.results import Labels
from pipelines.types import FloatArray, Tensor

FAMILIES = ("logits", "probabilities")


def reader(card: Card, params: ClassifyParams) -> Callable[[Sequence[Tensor], Fit], Labels]:
    """Build the function that turns one picture's output, (C,) logits or probabilities, into labels.

    Raises CardError for a family that is no classifier's.
    """
    if card.family not in FAMILIES:
        raise CardError(f"model {card.name!r} is of family {card.family!r}: classify reads {', '.join(FAMILIES)}")
    top_k = min(params.top_k, len(card.names))
    names = card.names

    def read(outputs: Sequence[Tensor], fit: Fit) -> Labels:
        values = outputs[0].reshape(-1).astype(np.float32)
        probabilities = softmax(values) if card.family == "logits" else values
        top = np.argsort(-probabilities, kind="stable")[:top_k].astype(np.int64)
        return Labels(top, probabilities[top], tuple(names[i] for i in top))

    return read


def softmax(logits: FloatArray) -> FloatArray:
    """Turn logits into probabilities, safe against overflow.

    logits: (C,) float32. Returns (C,) float32 that sums to 1.
    """
    powers = np.exp(logits - logits.max())
    probabilities: FloatArray = powers / powers.sum()
    return probabilities
