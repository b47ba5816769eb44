"""Whether there is a person in a picture at all, asked of a detector.

A matte network was made for people before a camera and says of nearly everything else near the camera that it is one,
too. Its own certainty doesn't tell: it takes a cat for a person with probability 1. So its card may name a detector
(`decode.detector`) that knows the class `person`; docs/decisions/0012-persons-are-confirmed.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from pipelines import detect
from pipelines.catalog import find_model
from pipelines.errors import CardError
from pipelines.geometry import fit, plan_fit
from pipelines.params import DetectParams
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Image

PERSON = "person"
LEAST_SCORE = 0.3  # measured from 0.2 to 0.7: lower ones find people in furniture, higher ones miss people

# (H, W, 3) uint8 RGB → whether somebody is in it.
Check: TypeAlias = Callable[[Image], bool]


def check(session: Session) -> Check | None:
    """Load the detector that goes with a matte network and build the function that asks it.

    None for a model that is no matte network, or whose card names no detector.
    The detector runs where the matte network does. Raises CardError if the card's `decode` names something that
    finds no persons, and what `Session` and `find_model` do.
    """
    name = session.card.decode.get("detector")
    if session.card.family != "matte" or name is None:  # others know the class themselves
        return None
    if not isinstance(name, str):
        raise CardError(f"model {session.card.name!r} has a wrong `decode`: detector must name a model, it is {name!r}")
    detector = Session(find_model(name), "auto" if session.on_gpu else "cpu")
    card = detector.card
    if card.task != "detect" or PERSON not in card.names:
        raise CardError(
            f"model {session.card.name!r} wants the detector {name!r} to look for persons, but that is a model for "
            f"{card.task!r} without such a class: put the one it came with back, or choose --no-confirm"
        )
    read = detect.reader(card, DetectParams(score=LEAST_SCORE, classes=(PERSON,), max_detections=1))

    def somebody(pixels: Image) -> bool:
        plan = plan_fit(pixels.shape[:2], card.input)
        canvas = np.empty((*plan.padded, 3), np.uint8)
        tensor = to_tensor(fit(pixels, plan, card.input.resize, canvas), card.input, Workspace())
        outputs = detector.run(tensor)
        single = outputs if card.input.layout == "CHW" else [output[0] for output in outputs]
        return len(read(single, plan).boxes) > 0

    return somebody
