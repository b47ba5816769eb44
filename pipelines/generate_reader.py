"""A generator's outputs as a picture, or as a strip of pictures side by side.

dcgan  (frames, C, H, W) in [−1, 1], and (frames, 1) logits where the file carries the discriminator
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines.card import Card
from pipelines.errors import CardError, ParameterError
from pipelines.geometry import Fit
from pipelines.params import GenerateParams
from pipelines.results import RenderedPicture
from pipelines.types import Image, Tensor

FAMILY = "dcgan"
JUDGE = "real"  # the output of the discriminator


def reader(card: Card, params: GenerateParams) -> Callable[[Sequence[Tensor], Fit, Image | None], RenderedPicture]:
    """Build the function that turns a generator's outputs into what is seen.

    Raises CardError for a family that is no generator's, ParameterError where a discriminator is asked and none is
    there.
    """
    if card.family != FAMILY:
        raise CardError(f"model {card.name!r} is of family {card.family!r}: generate reads {FAMILY}")
    if params.judge and JUDGE not in card.outputs:
        raise ParameterError(
            f"model {card.name!r} carries no discriminator, so nothing can judge its pictures: leave out --judge, or "
            "choose digits-dcgan"
        )

    def read(outputs: Sequence[Tensor], _: Fit, __: Image | None) -> RenderedPicture:
        made = np.rint(np.clip((outputs[0].astype(np.float32) + 1) * 127.5, 0, 255)).astype(np.uint8)
        pixels = np.concatenate([one.transpose(1, 2, 0) for one in made], axis=1)  # (H, frames · W, C)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        facts: dict[str, Any] = {}
        if params.judge:
            logits = outputs[1].astype(np.float64).ravel()
            facts["judged_real_share"] = round(float((1 / (1 + np.exp(-logits))).mean()), 4)
        return RenderedPicture(np.ascontiguousarray(pixels), facts)

    return read
