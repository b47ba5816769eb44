"""The parameters of each task: what a user may set, within which bounds, and what applies otherwise."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.card import Card, first_error
from pipelines.errors import ParameterError

ClassName = Annotated[str, Field(min_length=1)]


class Params(BaseModel):
    """What every pipeline's parameters share; a subclass for each pipeline.

    pipeline: its name. full_size: whether results are made of the picture's own pixels, so that it may not be decoded
    smaller than it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    pipeline: ClassVar[str]
    full_size: ClassVar[bool] = False


class ClassifyParams(Params):
    """Parameters of `classify`."""

    pipeline = "classify"
    top_k: int = Field(5, ge=1, le=1000, description="how many labels to give")


class DetectParams(Params):
    """Parameters of `detect`."""

    pipeline = "detect"
    score: float = Field(0.25, ge=0, le=1, description="least score of a detection")
    iou: float = Field(0.45, ge=0, le=1, description="overlap (IoU) above which the weaker of two boxes is dropped")
    max_detections: int = Field(300, ge=1, le=10_000, description="most detections in one picture")
    classes: tuple[ClassName, ...] = Field((), description="give only these classes")


class InstancesParams(DetectParams):
    """Parameters of `instances`: those of `detect`, and where a mask ends."""

    pipeline = "instances"
    mask_threshold: float = Field(0.5, gt=0, lt=1, description="least probability of a pixel of a mask")


class SegmentParams(Params):
    """Parameters of `segment`."""

    pipeline = "segment"
    classes: tuple[ClassName, ...] = Field((), description="show only these classes, the rest as the first class")


PARAMS: dict[str, type[Params]] = {
    model.pipeline: model for model in (ClassifyParams, DetectParams, InstancesParams, SegmentParams)
}


def resolve_params(card: Card, given: Mapping[str, Any], pipeline: str | None = None) -> Params:
    """Fill the user's parameters up with the model's defaults, and check them.

    pipeline: the pipeline to run; default: the one that has the name of the model's task.
    Raises ParameterError for a name the pipeline does not know, a value out of range, or a class the model lacks.
    """
    name = pipeline or card.task
    if name not in PARAMS:
        raise ParameterError(f"model {card.name!r} is for the task {card.task!r}, which no pipeline runs yet")
    model = PARAMS[name]
    unknown = [parameter for parameter in given if parameter not in model.model_fields]
    if unknown:
        known = ", ".join(model.model_fields)
        raise ParameterError(f"{name} has no parameter {unknown[0]!r}: it has {known}")
    defaults = {parameter: value for parameter, value in card.defaults.items() if parameter in model.model_fields}
    try:
        params = model.model_validate({**defaults, **given})
    except ValidationError as error:
        raise ParameterError(f"parameter {first_error(error)}") from error
    _check_classes(card, getattr(params, "classes", ()))
    return params


def _check_classes(card: Card, classes: tuple[str, ...]) -> None:
    for name in classes:
        if name not in card.names:
            near = difflib.get_close_matches(name, card.names, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pixelmill models NAME` lists them"
            raise ParameterError(f"model {card.name!r} has no class {name!r}: {hint}")


def fingerprint(pipeline: str, model_sha256: str, params: Mapping[str, Any]) -> str:
    """Name a way of computing results: the same text exactly when results can be reused.

    Returns 16 hex digits of the sha256 of pipeline, model and parameters.
    """
    text = json.dumps([pipeline, model_sha256, dict(params)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
