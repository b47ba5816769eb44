"""A picture painted in the style of others, step by step, by code that is found at run time (`pipelines.optimisers`).

    optimise = pipelines.load("squeezenet-pyramid", {"styles": ["wave.jpg"]}, pipeline="optimise")
    result = optimise("photo.jpg")

One picture at a time, with all threads at its arithmetic. Between two steps whoever attends may look at the picture,
keep it, or end the work.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeAlias, cast

import cv2
import numpy as np

from pipelines.card import Card, Provider, model_checksum, read_card
from pipelines.cores import available_cores
from pipelines.errors import ImageError
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.optimisers import load_optimiser
from pipelines.params import OptimiseParams
from pipelines.pipeline import Halted, Pipeline, Prepared, Source, Stopwatch, Then, named
from pipelines.results import Failure, RenderedPicture, Result
from pipelines.safety import check_model
from pipelines.session import Session
from pipelines.style_pictures import read_styles
from pipelines.stylize import with_colours_of
from pipelines.tensor import Workspace
from pipelines.types import Image, Tensor

_JUDGED_SECONDS = 5.0  # of work before it is reckoned how long all of it will take


@dataclass(frozen=True, slots=True)
class Losses:
    """How far a picture is from the content picture and from the styles, each relative to an empty one."""

    content: float
    style: float


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done, from 1. losses: of the picture before it. picture: gives the one after it."""

    number: int
    steps: int
    losses: Losses
    picture: Callable[[], Image]


EachStep: TypeAlias = Callable[[Step], None]


class Painter(Protocol):
    """What the code that is found must do. provider: what computes, in words; least_side: of a picture, in pixels."""

    provider: str
    least_side: int

    def paint(self, content: Image, each: EachStep, threads: int) -> tuple[Image, Losses]:
        """Paint a picture, (H, W, 3) uint8 RGB, at its size; `each` is called after every step and may raise."""
        ...


@dataclass(frozen=True, slots=True)
class Attendant:
    """Who looks on while pictures are painted.

    stop: once set, no further step is begun. step: told each picture's name and steps. keep: given a picture's name,
    a step's number and what is painted by then, (H, W, 3) uint8 RGB; says where it is kept. seconds: one picture may
    take so long.
    """

    stop: Event
    step: Callable[[str, Step], None] = lambda _, __: None
    keep: Callable[[str, int, Image], str] | None = None
    seconds: float = math.inf


class _LossModel:
    """What stands where other pipelines have a session: a model file that other code than ONNX Runtime runs."""

    on_gpu = False  # pictures are not gathered

    def __init__(self, path: Path, provider: str) -> None:
        self.path, self.provider = path, provider
        self.card: Card = read_card(path)
        self.checksum = model_checksum(path)
        self.outputs = self.card.outputs

    def run(self, tensor: Tensor) -> list[Tensor]:
        """Nothing runs forwards alone here."""
        return [tensor]


class Optimiser(Pipeline):
    """The pipeline that paints by optimisation; `pipelines.load` builds it."""

    params: OptimiseParams

    def __init__(
        self, path: Path, params: OptimiseParams, limits: Limits | None = None, provider: Provider = "auto"
    ) -> None:
        """Read the styles and the loss network.

        Raises ParameterError without PyTorch, for a style picture that can't be read or is too small; ModelError.
        """
        self.limits = limits or Limits()
        check_model(path)
        optimiser = load_optimiser()
        styles = read_styles(params.styles, params.style_sha256, self.limits)
        self._painter: Painter = optimiser(path, params, styles, provider)
        self.session = cast(Session, _LossModel(path, self._painter.provider))
        self.card, self.params = self.session.card, params
        self._enough = (params.size, params.size) if not params.enlarge and not params.original_colours else None
        self._attendant: Attendant | None = None
        self._threads = available_cores()

    def attended(self, attendant: Attendant) -> Optimiser:
        """This pipeline, with somebody who looks on; loss network and styles are shared."""
        one = copy.copy(self)
        one._attendant = attendant
        return one

    def process(self, source: Source, enough: tuple[int, int] | None = None) -> tuple[Result, Any]:
        """Take one picture the whole way. Raises Halted where whoever attends ends it."""
        prepared = self.prepare(source, Workspace(), enough)
        if isinstance(prepared, Result):
            return prepared, None
        return self.finish(prepared, self.session.run), prepared.picture

    def finish(self, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Result:
        """Paint a prepared picture; `run` is not needed. Raises Halted, and what keeping a picture raises."""
        picture, watch = prepared.picture, Stopwatch()
        about: dict[str, Any] = {
            "size": picture.size, "sha256": prepared.sha256, "conversions": picture.conversions,
            "timings_ms": prepared.timings_ms,
        }  # fmt: skip
        each = _Each(self, prepared)
        try:
            painted, losses = self._painter.paint(cast(Image, prepared.tensor), each, self._threads)
        except ImageError as error:
            prepared.timings_ms["optimise"] = watch.lap()
            return Result(prepared.name, error=Failure(error.code, str(error)), **about)
        except RuntimeError as error:  # PyTorch's own
            reason = str(error).strip().splitlines()[0][:300]
            return Result(prepared.name, error=Failure("inference_failed", f"PyTorch failed: {reason}"), **about)
        prepared.timings_ms["optimise"] = watch.lap()
        first = each.first or losses
        facts: dict[str, Any] = {
            "steps": self.params.steps,
            "content_loss": [round(first.content, 5), round(losses.content, 5)],
            "style_loss": [round(first.style, 5), round(losses.style, 5)],
        }
        if each.kept:
            facts["kept"] = each.kept
        return Result(prepared.name, RenderedPicture(self.shown(painted, picture.pixels), facts), **about)

    def shown(self, painted: Image, pixels: Image) -> Image:
        """What is painted as the parameters want to see it. pixels: the picture itself, decoded."""
        height, width = pixels.shape[:2]
        if self.params.enlarge and painted.shape[:2] != (height, width):
            painted = cv2.resize(painted, (width, height), interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
        if not self.params.original_colours:
            return painted
        return with_colours_of(_fitted_to(pixels, *painted.shape[:2]), painted)

    def map(
        self,
        sources: Iterable[Source],
        *,
        threads: int | None = None,
        then: Then | None = None,
        before: Callable[[str], None] | None = None,
        stop: Event | None = None,
        enough: tuple[int, int] | None = None,
        ordered: bool = True,
        batch: int | None = None,
    ) -> Iterator[Result]:
        """Paint many pictures one after the other. stop: once set, no further step is begun, and there is no result.

        threads: for the arithmetic of one picture.
        """
        one = self if stop is None or self._attendant is not None else self.attended(Attendant(stop))
        one._threads = threads or available_cores()
        for source in sources:
            if stop is not None and stop.is_set():
                return
            if before is not None:
                before(named(source)[0])
            try:
                result, picture = one.process(source, enough)
            except Halted:
                return
            yield then(result, picture) if then is not None else result

    def warm(self, batch: int = 1) -> list[tuple[int, ...]]:
        """Nothing has to be warmed."""
        return []

    def _fitted(self, pixels: Image, plan: Fit, workspace: Workspace) -> tuple[Fit, Tensor]:
        """The picture at the size at which it is painted, (h, w, 3) uint8. Raises ImageError if that is too small."""
        height, width = size_for(pixels.shape[:2], self.params.size)
        least = self._painter.least_side
        if min(height, width) < least:
            raise ImageError(
                "unsupported_pixels",
                f"the picture is painted at {width}×{height} pixels, and the loss network {self.card.name} needs "
                f"{least} a side: take a larger picture, or a larger --size",
            )
        return plan, cast(Tensor, _fitted_to(pixels, height, width))


class _Each:
    """What is done after every step of one picture."""

    def __init__(self, pipeline: Optimiser, prepared: Prepared) -> None:
        self._pipeline, self._prepared = pipeline, prepared
        self._attendant = pipeline._attendant
        self._began = time.monotonic()
        self.first: Losses | None = None
        self.kept: list[str] = []

    def __call__(self, step: Step) -> None:
        self.first = self.first or step.losses
        attendant, every, name = self._attendant, self._pipeline.params.keep_every, self._prepared.name
        if attendant is None:
            return
        if attendant.stop.is_set():
            raise Halted(name)
        attendant.step(name, step)
        if attendant.keep is not None and every and step.number % every == 0:
            shown = self._pipeline.shown(step.picture(), self._prepared.picture.pixels)
            self.kept.append(attendant.keep(name, step.number, shown))
        self._check_time(step, attendant.seconds)

    def _check_time(self, step: Step, allowed: float) -> None:
        """Give up at once what can't come to its end in time. Raises ImageError."""
        took = time.monotonic() - self._began
        whole = took / step.number * step.steps
        if step.number < step.steps and (took > allowed or (took > _JUDGED_SECONDS and whole > 1.5 * allowed)):
            raise ImageError(
                "timed_out",
                f"{step.steps} steps take about {whole:,.0f} s here ({step.number} took {took:,.0f} s), and a picture "
                f"may take {allowed:,.0f} s: fewer --steps, a smaller --size, or a larger PIXELMILL_SHARD_SECONDS at "
                "the worker",
            )


def size_for(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The (height, width) at which a picture of this size is painted: no larger than it is, its form kept."""
    ratio = min(1.0, longest / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _fitted_to(pixels: Image, height: int, width: int) -> Image:
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    how = cv2.INTER_AREA if height * width < pixels.shape[0] * pixels.shape[1] else cv2.INTER_CUBIC
    fitted: Image = cv2.resize(pixels, (width, height), interpolation=how)  # type: ignore[assignment]
    return fitted
