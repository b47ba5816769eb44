"""Pipelines and models by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipelines.card import Card, Task, read_card
from pipelines.errors import ModelError, ParameterError

SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class PipelineEntry:
    """A pipeline by name: the tasks of the models it runs, the one it runs unless told otherwise, a line about it."""

    name: str
    tasks: tuple[Task, ...]
    default_model: str
    summary: str


PIPELINES: dict[str, PipelineEntry] = {
    entry.name: entry
    for entry in (
        PipelineEntry(
            "classify", ("classify",), "efficientnet-lite0", "what a picture shows: the most probable labels"
        ),
        PipelineEntry("detect", ("detect",), "ssd-mobilenet-v2", "where things are: boxes, labels and scores"),
        PipelineEntry("segment", ("segment",), "smears-semantic", "what every pixel belongs to: a class a pixel"),
        PipelineEntry("instances", ("instances",), "coco-masks", "which pixels each object covers: a mask each"),
        PipelineEntry(
            "portrait",
            ("portrait", "segment", "instances"),
            "selfie",
            "people before a blurred, replaced or transparent background",
        ),
        PipelineEntry(
            "rcnn",
            ("rcnn", "classify"),
            "smears-rcnn",
            "the original R-CNN: proposed regions, each through the network; --labels imagenet names any photograph",
        ),
        PipelineEntry("stylize", ("stylize",), "style-wave", "the picture repainted in a style"),
        PipelineEntry(
            "optimise",
            ("pyramid",),
            "squeezenet-pyramid",
            "the picture repainted in the style of your own pictures, step by step; its worker needs torch",
        ),
        PipelineEntry("generate", ("generate",), "digits-dcgan", "pictures from a GAN: so many, from a seed on"),
    )
}


def find_pipeline(name: str) -> PipelineEntry:
    """Look a pipeline up. Raises ParameterError, with the nearest name, if there is none."""
    if name in PIPELINES:
        return PIPELINES[name]
    near = difflib.get_close_matches(name, PIPELINES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ParameterError(f"there is no pipeline {name!r}: {hint}There are {', '.join(PIPELINES)}")


def model_folders() -> list[Path]:
    """Folders whose models are known by name: PIXELMILL_MODELS, the user's own, then the shipped ones."""
    folders = [Path(part) for part in os.environ.get("PIXELMILL_MODELS", "").split(os.pathsep) if part]
    return [*folders, user_models(), SHIPPED]


def user_models() -> Path:
    """Where exported models of this user are kept."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "pixelmill" / "models"


def model_files() -> Iterator[Path]:
    """Every model file known by name; a name found in an earlier folder hides the same in a later one."""
    seen: set[str] = set()
    for folder in model_folders():
        if folder.is_dir():
            for path in sorted(folder.glob("*.onnx")):
                if path.stem not in seen:
                    seen.add(path.stem)
                    yield path


def find_model(name: str) -> Path:
    """Find a model by name, or take a path to an `.onnx` file.

    Raises ModelError if there is no such file, ParameterError with the nearest names if the name is unknown.
    """
    if name.endswith(".onnx") or os.sep in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise ModelError(f"model file {name} does not exist")
        return path.resolve()
    known = {path.stem: path for path in model_files()}
    if name in known:
        return known[name].resolve()
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ParameterError(
        f"there is no model {name!r}: {hint}`pixelmill models` lists what can run; a path ending in .onnx works too"
    )


def model_for(
    pipeline: PipelineEntry, model: str | None, params: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Path, Card]:
    """Find the model a pipeline should run and check that it is for the pipeline's task.

    params: as the user gave them; ImageNet's labels for regions ask for the model that knows them.
    Raises ParameterError if it is for another task, or as `find_model` and `read_card`.
    """
    imagenet = pipeline.name == "rcnn" and params.get("labels") == "imagenet"
    wanted = model or (PIPELINES["classify"].default_model if imagenet else pipeline.default_model)
    path = find_model(wanted)
    card = read_card(path)
    check_task(pipeline, card)
    return path, card


def check_task(pipeline: PipelineEntry, card: Card) -> None:
    """Raise ParameterError if a model is for a task that the pipeline does not run."""
    if card.task not in pipeline.tasks:
        listed = " or ".join(f"`pixelmill models --task {task}`" for task in pipeline.tasks)
        raise ParameterError(
            f"model {card.name!r} is for the task {card.task!r}, not for {pipeline.name!r}: choose one of {listed}"
        )
