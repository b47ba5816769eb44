"""The second model that some pipelines need: a detector whose boxes the first one looks into.

Results depend on it as they do on the first, so its checksum is a part of the fingerprint. Light: no network is loaded.
"""

from __future__ import annotations

from pipelines.card import Card, model_checksum
from pipelines.catalog import find_model
from pipelines.params import Params, PortraitParams, RcnnParams

PROPOSER = "ssd-mobilenet-v2"  # the detector that proposes regions, where one is asked to


def companion(card: Card, params: Params) -> str | None:
    """Name the model that works beside a card's own with these parameters; None where there is none."""
    if isinstance(params, RcnnParams):
        by_detector = params.regions == "detector" or (params.regions == "auto" and card.family != "rcnn")
        return PROPOSER if by_detector else None
    looks_closer = card.family == "matte" and isinstance(params, PortraitParams) and params.confirm
    named = card.decode.get("detector") if looks_closer or card.family == "box-masks" else None
    return named if isinstance(named, str) else None  # what is no name is refused where the model is loaded


def companion_checksum(card: Card, params: Params) -> str | None:
    """The sha256 of the companion's file on this machine, hex; None where there is none.

    Raises ParameterError or ModelError if there is no such model here.
    """
    name = companion(card, params)
    return model_checksum(find_model(name)) if name else None
