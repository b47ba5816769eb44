"""The parameters of each task: what a user may set, within which bounds, and what applies otherwise."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.card import Card, Task, first_error
from pipelines.errors import ParameterError


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassifyParams(_Params):
    """Parameters of `classify`."""

    top_k: int = Field(5, ge=1, le=1000, description="how many labels to give")


class DetectParams(_Params):
    """Parameters of `detect`."""

    score: float = Field(0.25, ge=0, le=1, description="least score of a detection")
    iou: float = Field(0.45, ge=0, le=1, description="overlap (IoU) above which the weaker of two boxes is dropped")
    max_detections: int = Field(300, ge=1, le=10_000, description="most detections in one picture")
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="give only these classes")


Params: TypeAlias = ClassifyParams | DetectParams
PARAMS: dict[Task, type[ClassifyParams] | type[DetectParams]] = {"classify": ClassifyParams, "detect": DetectParams}


def resolve_params(card: Card, given: Mapping[str, Any]) -> Params:
    """Fill the user's parameters up with the model's defaults, and check them.

    Raises ParameterError for a name the task does not know, a value out of range, or a class the model does not have.
    """
    if card.task not in PARAMS:
        raise ParameterError(f"model {card.name!r} is for the task {card.task!r}, which no pipeline runs yet")
    model = PARAMS[card.task]
    unknown = [name for name in given if name not in model.model_fields]
    if unknown:
        known = ", ".join(model.model_fields)
        raise ParameterError(f"{card.task} has no parameter {unknown[0]!r}: it has {known}")
    defaults = {name: value for name, value in card.defaults.items() if name in model.model_fields}
    try:
        params: Params = model.model_validate({**defaults, **given})
    except ValidationError as error:
        raise ParameterError(f"parameter {first_error(error)}") from error
    if isinstance(params, DetectParams):
        for name in params.classes:
            if name not in card.names:
                near = difflib.get_close_matches(name, card.names, n=3)
                hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pixelmill models NAME` lists them"
                raise ParameterError(f"model {card.name!r} has no class {name!r}: {hint}")
    return params


def fingerprint(pipeline: str, model_sha256: str, params: Mapping[str, Any]) -> str:
    """Name a way of computing results: the same text exactly when results can be reused.

    Returns 16 hex digits of the sha256 of pipeline, model and parameters.
    """
    text = json.dumps([pipeline, model_sha256, dict(params)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
