"""Make a network with random weights worth comparing.

With random weights a network is an amplifier: where batch normalisation knows only noise, a photograph drives it far
out of range, the last digits of float32 grow to whole pixels, and every comparison fails for no fault of the export. So
the statistics are taken from photographs instead. And a detector that drops weak boxes inside would drop all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exports.libraries import torch
from exports.pictures import pixels_of
from exports.quantize import tensors
from exports.ways import TorchSession, Way
from pipelines.card import Card
from pipelines.types import Image

if TYPE_CHECKING:
    from torch.nn import Module

_SHARE = 0.5  # of the strongest boxes of a picture stay
_SETTLING = 4  # photographs: their pixels are many


def settle_on(network: Module, wrapper: Module, card: Card, pictures: Sequence[Path | Image]) -> None:
    """Set the statistics of every batch normalisation from photographs, in place; nothing without such layers.

    The average over pictures of each one's own statistics, as `momentum=None` of PyTorch defines it.
    """
    library = torch()
    norms = [m for m in network.modules() if isinstance(m, library.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None
        with library.no_grad():
            for tensor in tensors(card, pictures[:_SETTLING]) if norms else ():
                # the mirror image too: two values a channel at least, where a map is 1×1
                if card.input.layout == "CHW":
                    wrapped: Any = wrapper.network
                    wrapped([library.from_numpy(np.array(one)) for one in (tensor, tensor[..., ::-1])])
                else:
                    wrapper(library.from_numpy(np.concatenate([tensor, tensor[..., ::-1]])))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def lower(wrapper: Module, card: Card, picture: Path | Image) -> str | None:
    """Lower a wrapped torchvision detector's own score threshold, in place, to what half of its best boxes reach.

    picture: whose boxes are looked at.
    Returns a note for the card; None if the network has no such threshold or finds enough as it is.
    """
    network: Any = wrapper.network  # the wrapper's twin of the network, which is what is run and exported
    holder: Any = getattr(network, "roi_heads", network)
    before = getattr(holder, "score_thresh", None)
    if before is None:
        return None
    pixels = pixels_of(picture)
    way = Way(TorchSession(wrapper, card), {"score": 0.0})
    if len(way.see(pixels).outputs[2]):
        return None
    holder.score_thresh = 0.0
    scores = sorted(way.see(pixels).outputs[2].tolist(), reverse=True)
    if not scores:
        holder.score_thresh = before
        return None
    holder.score_thresh = scores[max(0, int(len(scores) * _SHARE) - 1)]
    return (
        f"random weights reach no score of {before:g}, the network's own threshold: it was lowered to "
        f"{holder.score_thresh:.3g} in this file, so that there are boxes to compare"
    )
