"""Let a detector with random weights find something, so that there is something to compare.

torchvision's detectors drop weak boxes inside the network, and with random weights every box is weak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exports.ways import Way, TorchSession
from pipelines.card import Card
from pipelines.types import Image

if TYPE_CHECKING:
    from torch.nn import Module

_SHARE = 0.5  # of the strongest boxes of a picture stay


def lower(network: Module, wrapper: Module, card: Card, picture: Image) -> str | None:
    """Lower a torchvision detector's own score threshold, in place, to what half of its best boxes reach.

    picture: (H, W, 3) uint8, whose boxes are looked at.
    Returns a note for the card; None if the network has no such threshold or finds enough as it is.
    """
    holder: Any = getattr(network, "roi_heads", network)
    before = getattr(holder, "score_thresh", None)
    if before is None:
        return None
    way = Way(TorchSession(wrapper, card), {"score": 0.0})
    if len(way.see(picture).outputs[2]):
        return None
    holder.score_thresh = 0.0
    scores = sorted(way.see(picture).outputs[2].tolist(), reverse=True)
    if not scores:
        holder.score_thresh = before
        return None
    holder.score_thresh = scores[int(len(scores) * _SHARE) - 1 if len(scores) > 1 else 0]
    return (
        f"random weights reach no score of {before:g}, the network's own threshold: it was lowered to "
        f"{holder.score_thresh:.3g} in this file, so that there are boxes to compare"
    )
