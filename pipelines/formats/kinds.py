"""What a pipeline gives, as the formats see it: the key under which a line of `results.jsonl` holds what was found."""

from __future__ import annotations

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["labels", "detections", "instances", "segments", "picture"]

KIND_OF: dict[str, Kind] = {
    "classify": "labels",
    "detect": "detections",
    "rcnn": "detections",
    "instances": "instances",
    "segment": "segments",
    "portrait": "picture",
    "stylize": "picture",
    "optimise": "picture",
    "generate": "picture",
}

SAID: dict[Kind, str] = {
    "labels": "labels of whole pictures",
    "detections": "boxes",
    "instances": "boxes with masks",
    "segments": "a class for every pixel",
    "picture": "pictures",
}
