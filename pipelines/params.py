"""The parameters of each task: what a user may set, within which bounds, and what applies otherwise."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from pipelines.backdrop import checksum, is_colour, settled_path
from pipelines.card import Card, first_error
from pipelines.catalog import check_task, find_pipeline
from pipelines.errors import ParameterError
from pipelines.style_pictures import MOST, settled, settled_weights

LEAST_TILE = 64  # pixels a side
LEAST_STYLE_TILE = 256  # of which 128 are margin

ClassName = Annotated[str, Field(min_length=1)]


class Params(BaseModel):
    """What every pipeline's parameters share; a subclass for each pipeline.

    pipeline: its name. full_size: whether results are made of the picture's own pixels, so that it may not be decoded
    smaller than it is. file_fields: those that may name a file, which a worker must be allowed to read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    pipeline: ClassVar[str]
    full_size: ClassVar[bool] = False
    file_fields: ClassVar[tuple[str, ...]] = ()


class ClassifyParams(Params):
    """Parameters of `classify`."""

    pipeline = "classify"
    top_k: int = Field(5, ge=1, le=1000, description="how many labels to give")


class TiledParams(Params):
    """Parameters of the pipelines that can run a large picture in tiles."""

    tile: int = Field(
        0, ge=0, le=16384, description="side of a tile in pixels of the picture; 0: the picture as a whole"
    )
    tile_overlap: float = Field(0.2, ge=0, le=0.5, description="share of a tile that the next one covers too")

    @field_validator("tile")
    @classmethod
    def _not_tiny(cls, value: int) -> int:
        if 0 < value < LEAST_TILE:
            raise ValueError(f"a tile has at least {LEAST_TILE} pixels a side, or 0 for none, this one {value}")
        return value


class DetectParams(TiledParams):
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


class RcnnParams(Params):
    """Parameters of `rcnn`."""

    pipeline = "rcnn"
    full_size = True
    score: float = Field(0.25, ge=0, le=1, description="least score of a detection")
    iou: float = Field(0.3, ge=0, le=1, description="overlap (IoU) above which the weaker of two boxes is dropped")
    max_detections: int = Field(300, ge=1, le=10_000, description="most detections in one picture")
    classes: tuple[ClassName, ...] = Field((), description="give only these classes")
    labels: Literal["model", "imagenet"] = Field("model", description="the model's own, or ImageNet's 1,000")
    regions: Literal["auto", "selective-search", "detector"] = Field(
        "auto", description="what proposes regions; auto: selective search, for ImageNet's labels the shipped detector"
    )
    proposals: int = Field(2000, ge=1, le=10_000, description="most regions of a picture that pass the network")
    strategy: Literal["single", "fast", "fine", "quality"] = Field(
        "fast", description="how many hierarchies selective search builds: 1, 8 or 80; fine: 6, for small objects"
    )


class SegmentParams(TiledParams):
    """Parameters of `segment`."""

    pipeline = "segment"
    classes: tuple[ClassName, ...] = Field((), description="show only these classes, the rest as the first class")


WHITE = "#ffffff"


class PortraitParams(Params):
    """Parameters of `portrait`.

    A background that is given without an effect asks for `replace`. The picture's checksum is filled in where it is
    missing, so that results computed with another picture of the same name are not taken for these.
    """

    pipeline = "portrait"
    full_size = True
    file_fields = ("background",)
    effect: Literal["blur", "replace", "cutout"] = Field("blur", description="what becomes of the background")
    blur: float = Field(2.0, ge=0.1, le=10, description="blur's radius in percent of the picture's longer side")
    background: str = Field(WHITE, min_length=1, description="colour #rrggbb or path of a picture, for `replace`")
    background_sha256: str | None = Field(None, validate_default=True, description="checksum of that picture")
    feather: float = Field(0.0, ge=0, le=5, description="wider edge, in percent of the picture's longer side")
    confirm: bool = Field(
        True, description="look closer at each person a detector finds, if the model names one; at nothing if none"
    )

    @model_validator(mode="before")
    @classmethod
    def _a_background_asks_for_replace(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "background" in given and "effect" not in given:
            return {**given, "effect": "replace"}
        return given

    @field_validator("background")
    @classmethod
    def _colour_or_whole_path(cls, value: str) -> str:
        return value.lower() if is_colour(value) else settled_path(value)

    @field_validator("background_sha256")
    @classmethod
    def _of_the_picture(cls, value: str | None, info: ValidationInfo) -> str | None:
        background = info.data.get("background", WHITE)
        return None if is_colour(background) else value or checksum(background)

    @model_validator(mode="after")
    def _only_what_the_effect_uses(self) -> PortraitParams:
        if self.effect != "replace" and self.background != WHITE:
            raise ValueError(f"background belongs to the effect 'replace', not to {self.effect!r}")
        return self


class StylizeParams(Params):
    """Parameters of `stylize`."""

    pipeline = "stylize"
    full_size = True
    strength: float = Field(1.0, ge=0, le=1, description="how much of the style: 0 the picture itself, 1 all of it")
    original_colours: bool = Field(
        False, description="take only light and shade from the style, colours from the picture"
    )
    tile: int = Field(
        1024, ge=0, le=16384, description="paint pictures with a longer side in tiles of so many pixels; 0: as a whole"
    )

    @field_validator("tile")
    @classmethod
    def _wider_than_its_margins(cls, value: int) -> int:
        if 0 < value < LEAST_STYLE_TILE:
            raise ValueError(f"a tile has at least {LEAST_STYLE_TILE} pixels a side, or 0 for none, this one {value}")
        return value


class OptimiseParams(Params):
    """Parameters of `optimise`: a picture painted in the style of others by Gatys' optimisation."""

    pipeline = "optimise"
    full_size = True
    file_fields = ("styles",)
    styles: tuple[ClassName, ...] = Field((), max_length=MOST, validate_default=True, description="style pictures")
    style_weights: tuple[float, ...] = Field(
        (), validate_default=True, description="how much of each style, in their order; none: all alike"
    )
    style_sha256: tuple[str, ...] = Field((), validate_default=True, description="checksums of these pictures")
    steps: int = Field(300, ge=1, le=5000, description="steps of the optimiser")
    keep_every: int = Field(0, ge=0, le=5000, description="keep a picture after every so many steps; 0: only the last")
    size: int = Field(512, ge=64, le=2048, description="longer side of the work in pixels, at most the picture's")
    enlarge: bool = Field(False, description="enlarge what is painted to the picture's own size")
    original_colours: bool = Field(False, description="take only light and shade from what is painted")
    optimiser: Literal["lbfgs", "adam"] = Field("lbfgs", description="how the picture is improved")
    start: Literal["content", "noise"] = Field("content", description="what the first step begins with")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the noise")
    content_weight: float = Field(1.0, ge=0, le=1e6, description="how much the picture's own forms count")
    style_weight: float = Field(300.0, ge=0, le=1e6, description="how much the styles count")
    smoothness: float = Field(1000.0, ge=0, le=1e6, description="how much noise between neighbouring pixels costs")
    style_scale: float = Field(1.0, ge=0.25, le=4, description="size of the strokes: of a style against the picture")

    @field_validator("styles")
    @classmethod
    def _whole_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return settled(value)

    @field_validator("style_weights")
    @classmethod
    def _one_a_style(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        return settled_weights(value, len(info.data["styles"])) if "styles" in info.data else value

    @field_validator("style_sha256")
    @classmethod
    def _of_the_styles(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return value or tuple(map(checksum, info.data.get("styles", ())))


class GenerateParams(Params):
    """Parameters of `generate`."""

    pipeline = "generate"
    truncation: float | None = Field(
        None, gt=0, le=10, description="cut the noise off here: smaller is more usual and less varied; None: not at all"
    )
    classes: tuple[ClassName, ...] = Field((), description="make only these classes, in turn; a conditional model's")
    strip: int = Field(
        0, ge=0, le=64, description="frames on the way from a seed's picture to the next seed's, side by side; 0: one"
    )
    judge: bool = Field(False, description="let the discriminator say how real each picture looks")

    @field_validator("strip")
    @classmethod
    def _both_ends(cls, value: int) -> int:
        if value == 1:
            raise ValueError("a strip has 2 frames or more, or 0 for no strip, this one 1")
        return value


PARAMS: dict[str, type[Params]] = {
    model.pipeline: model
    for model in (
        ClassifyParams, DetectParams, InstancesParams, RcnnParams, SegmentParams, PortraitParams, StylizeParams,
        GenerateParams, OptimiseParams,
    )
}  # fmt: skip


def resolve_params(card: Card, given: Mapping[str, Any], pipeline: str | None = None) -> Params:
    """Fill the user's parameters up with the model's defaults, and check them.

    pipeline: the pipeline to run; default: the one that has the name of the model's task.
    Raises ParameterError for a name the pipeline does not know, a value out of range, or a class the model lacks.
    """
    name = pipeline or card.task
    if pipeline is not None:
        check_task(find_pipeline(pipeline), card)
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
        first = error.errors(include_url=False)[0]
        # our own checks say the value themselves
        says_it = first["type"] == "value_error" or not isinstance(first["input"], str | int | float)
        it_is = "" if says_it else f", it is {first['input']!r}"
        raise ParameterError(f"parameter {first_error(error)}{it_is}") from error
    _check_classes(card, getattr(params, "classes", ()))
    return params


def files_named(pipeline: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the paths of files that a job's parameters name, without looking at the files."""
    fields = PARAMS[pipeline].file_fields if pipeline in PARAMS else ()
    values: list[Any] = []
    for given in (params.get(field) for field in fields):
        values += given if isinstance(given, list | tuple) else [given]
    return tuple(str(value) for value in values if value and not str(value).startswith("#"))


def _check_classes(card: Card, classes: tuple[str, ...]) -> None:
    for name in classes:
        if name not in card.names:
            plain = {known.casefold(): known for known in card.names}
            near = [plain[close] for close in difflib.get_close_matches(name.casefold(), plain, n=3)]
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pixelmill models NAME` lists them"
            raise ParameterError(f"model {card.name!r} has no class {name!r}: {hint}")


def fingerprint(
    pipeline: str, model_sha256: str, params: Mapping[str, Any], companion_sha256: str | None = None
) -> str:
    """Name a way of computing results: the same text exactly when results can be reused.

    companion_sha256: of the second model, where one has a part in them (`pipelines.companions`).
    Returns 16 hex digits of the sha256 of pipeline, models and parameters.
    """
    if not params.get("tile"):  # without tiles these two say nothing: results from before there were any stay good
        params = {name: value for name, value in params.items() if name not in ("tile", "tile_overlap")}
    models = [model_sha256] if companion_sha256 is None else [model_sha256, companion_sha256]
    text = json.dumps([pipeline, *models, dict(params)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
