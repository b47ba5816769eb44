"""A model's card: what a model file says about itself, and the contract between the rooms.

The card is JSON under the metadata key `pixelmill`. A file written by `yolo export` carries its own keys (`names`,
`task`, `stride`, `imgsz`); they are read into a card too.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import CardError, ModelError
from pipelines.onnxfile import read_metadata, with_metadata

CARD_KEY = "pixelmill"
CARD_VERSION = 1

Task: TypeAlias = Literal[
    "classify", "detect", "segment", "instances", "portrait", "generate", "stylize", "embed", "pyramid", "rcnn"
]
Provider: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resize(_Part):
    """How a picture of any size becomes the network's input.

    stretch: to height × width, whatever the aspect.
    letterbox: the whole picture fits inside, the rest is `pad_value`. With a dynamic input the padding goes only to the
        next multiple of `stride`, so the network sees a rectangle, not a square.
    crop: the shorter side to `shorter_side`, then the centre height × width.
    shorter-side: the shorter side to `shorter_side`, nothing cut off; less where the longer side would exceed
        `longer_side`, so that a very long picture stays affordable. Padded to a multiple of `stride`.
    keep: not at all; the network takes any size (padded to a multiple of `stride`).
    antialias: smooth before shrinking, as Pillow and torchvision do; OpenCV's own resize, which YOLO networks are
        trained with, does not.
    """

    rule: Literal["stretch", "letterbox", "crop", "shorter-side", "keep"]
    interpolation: Literal["nearest", "bilinear", "bicubic", "area"] = "bilinear"
    antialias: bool = False
    shorter_side: int | None = Field(None, ge=1)
    longer_side: int | None = Field(None, ge=1)
    pad_value: int = Field(114, ge=0, le=255)
    anchor: Literal["centre", "top-left"] = "centre"
    stride: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _sides_belong_to_their_rules(self) -> Resize:
        if (self.rule in ("crop", "shorter-side")) != (self.shorter_side is not None):
            raise ValueError("shorter_side belongs to the rules 'crop' and 'shorter-side', and only to them")
        if (self.rule == "shorter-side") != (self.longer_side is not None):
            raise ValueError("longer_side belongs to the rule 'shorter-side' and only to it")
        if self.longer_side is not None and self.shorter_side is not None and self.longer_side < self.shorter_side:
            raise ValueError(f"longer_side {self.longer_side} is less than shorter_side {self.shorter_side}")
        return self


class InputSpec(_Part):
    """The network's picture input: network value = (pixel − mean) / std, pixels 0–255, channels in `colour` order.

    height, width: pixels; for a dynamic input the size it works best at (the letterbox's longer edge).
    dynamic: whether height and width may differ from that (in multiples of `resize.stride`).
    batch: how many pictures one run takes; None = any number.
    """

    name: str
    layout: Literal["NCHW", "NHWC", "CHW"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    colour: Literal["RGB", "BGR", "GRAY"] = "RGB"
    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    dynamic: bool = False
    batch: int | None = Field(1, ge=1)
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    resize: Resize

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> InputSpec:
        channels = 1 if self.colour == "GRAY" else 3
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean and std need {channels} values each for colour {self.colour}")
        return self

    @model_validator(mode="after")
    def _any_size_for_a_shorter_side(self) -> InputSpec:
        if self.resize.rule == "shorter-side" and not self.dynamic:
            raise ValueError("the rule 'shorter-side' gives inputs of many sizes: input.dynamic must be true")
        return self


class Weights(_Part):
    """Where the numbers in the network come from."""

    source: str
    licence: str
    sha256: str | None = None  # of the file the weights were taken from
    training_data: str | None = None


class Quality(_Part):
    """A figure measured by the script that made the model, on data its training never saw unless `data` says so."""

    metric: str
    value: float
    data: str
    images: int = Field(ge=1)
    measured_by: str


class Card(_Part):
    """What a model is, how to feed it, how to read its outputs, and how far to trust it.

    family: how the outputs are decoded (`pipelines.classify`, `pipelines.detect`, … say which they know).
    names: class names, index = class id.
    decode: numbers the family's decoder needs (anchors, strides, variances).
    defaults: the pipeline's parameters where the user gives none.
    parity: agreement with the network it was exported from, as measured.
    """

    card_version: Literal[1] = 1
    name: str = Field(min_length=1)
    task: Task
    family: str
    names: tuple[str, ...] = ()
    input: InputSpec
    outputs: tuple[str, ...] = ()
    decode: dict[str, Any] = {}
    defaults: dict[str, float | int] = {}
    precision: str = "fp32"
    weights: Weights
    quality: tuple[Quality, ...] = ()
    parity: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    exporter: str


def read_card(path: Path) -> Card:
    """Read the card of a model file, without ONNX Runtime.

    Raises ModelError if the file is no whole ONNX file, CardError if it has no card or one that is not valid.
    """
    metadata = read_metadata(path)
    if CARD_KEY in metadata:
        try:
            return Card.model_validate_json(metadata[CARD_KEY])
        except ValidationError as error:
            raise CardError(f"the card of model file {path} is not valid: {first_error(error)}") from error
    if {"names", "task", "stride", "imgsz"} <= metadata.keys():
        return _ultralytics_card(metadata, path)
    raise CardError(
        f"model file {path} has no card: its metadata holds neither {CARD_KEY!r} nor the keys of `yolo export`. "
        "Give it one with `pixelmill adopt`, or export it with `pixelmill export`"
    )


def with_card(model: bytes, card: Card) -> bytes:
    """Give a copy of an ONNX model that carries this card."""
    return with_metadata(model, {CARD_KEY: card.model_dump_json(exclude_defaults=False)})


@lru_cache(maxsize=64)
def _checksum(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_checksum(path: Path) -> str:
    """The sha256 of a model file, hex; remembered as long as size and modification time stay.

    Raises ModelError if the file can't be read.
    """
    try:
        stat = path.stat()
        return _checksum(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror or error}") from error


def first_error(error: ValidationError) -> str:
    """Say the first of pydantic's complaints in one sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "it"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _ultralytics_card(metadata: dict[str, str], path: Path) -> Card:
    """Read the metadata that Ultralytics writes (`ultralytics/engine/exporter.py`, `self.metadata`)."""
    tasks: dict[str, Task] = {"detect": "detect", "segment": "instances", "classify": "classify"}
    task = metadata["task"]
    if task not in tasks:
        known = ", ".join(tasks)
        raise CardError(f"model file {path} is a YOLO for the task {task!r}: Pixelmill runs YOLO for {known}")
    try:
        names = ast.literal_eval(metadata["names"])
        height, width = ast.literal_eval(metadata["imgsz"])
        stride = int(metadata["stride"])
        if not isinstance(names, dict) or list(names) != list(range(len(names))):
            raise ValueError("names must map 0, 1, 2 … to class names")  # noqa: TRY301
        arguments = ast.literal_eval(metadata.get("args", "{}"))
        end_to_end = metadata.get("end2end", "False") == "True"
        dynamic = bool(arguments.get("dynamic", False))
        family = "yolo-seg" if task == "segment" else "yolo-end2end" if end_to_end else "yolo"
        if task == "classify":
            resize = Resize(rule="crop", interpolation="bilinear", shorter_side=int(min(height, width)))
            family = "probabilities"
        else:
            resize = Resize(rule="letterbox", stride=stride)
        return Card(
            name=path.stem,
            task=tasks[task],
            family=family,
            names=tuple(str(name) for name in names.values()),
            decode={"end2end": True} if family == "yolo-seg" and end_to_end else {},
            input=InputSpec(
                name="images",
                height=int(height),
                width=int(width),
                dynamic=dynamic and task != "classify",
                batch=None if dynamic else int(metadata.get("batch", "1")),
                mean=(0.0, 0.0, 0.0),
                std=(255.0, 255.0, 255.0),
                resize=resize,
            ),
            weights=Weights(
                source=metadata.get("description", "Ultralytics"),
                licence=metadata.get("license", "unknown"),
                training_data=arguments.get("data"),
            ),
            exporter=f"ultralytics {metadata.get('version', '?')}",
        )
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        reason = first_error(error) if isinstance(error, ValidationError) else error
        raise CardError(f"model file {path} carries YOLO metadata that can't be read: {reason}") from error


def card_json(card: Card) -> dict[str, Any]:
    """The card as JSON types, for printing."""
    loaded: dict[str, Any] = json.loads(card.model_dump_json())
    return loaded


__all__ = [
    "CARD_KEY",
    "CARD_VERSION",
    "Card",
    "CardError",
    "InputSpec",
    "ModelError",
    "Provider",
    "Quality",
    "Resize",
    "Task",
    "Weights",
    "card_json",
    "first_error",
    "model_checksum",
    "read_card",
    "with_card",
]
