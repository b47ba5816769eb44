"""The way of an image: read → decode → preprocess → session → read the outputs, for one picture or for many.

On a CPU, `map` runs N threads around one 1-thread session; each takes a picture the whole way, so there is no hand-over
and no idle core. On a GPU, `batching` gathers pictures of equal shape first.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Event
from typing import Any, TypeAlias

import numpy as np

from pipelines import boxmasks, budget, tiles
from pipelines.card import Card, Provider, read_card
from pipelines.companions import companion_checksum
from pipelines.errors import ImageError
from pipelines.geometry import Fit, fit, plan_fit
from pipelines.image import Limits, Picture, decode, read_bytes
from pipelines.optimisers import PIPELINE as OPTIMISE
from pipelines.params import GenerateParams, OptimiseParams, Params, StylizeParams, fingerprint, resolve_params
from pipelines.readers import reader
from pipelines.results import Failure, Found, Result
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Image, Tensor

# A picture to process: a path, bytes of an image file, an RGB array, or any of these with a name of its own.
Content: TypeAlias = str | Path | bytes | Image
Source: TypeAlias = Content | tuple[str, Content]
# What else to do with a picture before it leaves memory (draw, write); gives the result that goes out.
Then: TypeAlias = Callable[[Result, Picture | None], Result]


GPU_BATCH = 16  # pictures in one run on a GPU; not measured yet


@dataclass(slots=True)
class Prepared:
    """A picture on its way: decoded, fitted, not yet run. `tensor` belongs to the workspace that made it."""

    name: str
    picture: Picture
    plan: Fit
    tensor: Tensor
    sha256: str | None
    timings_ms: dict[str, float]


class Halted(Exception):  # noqa: N818 - no error: somebody wanted no further step
    """The work on a picture was ended within it; there is no result."""


class Stopwatch:
    """Milliseconds between marks."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        now = time.perf_counter()
        took, self._last = (now - self._last) * 1000, now
        return took


class Pipeline:
    """A task with its model and parameters; build it with `pipelines.load`.

    Thread-safe. Calling it with one picture gives its result; `map` takes any number.
    """

    def __init__(self, session: Session, params: Params, limits: Limits | None = None) -> None:
        self.session = session
        self.card: Card = session.card
        self.params = params
        self.limits = limits or Limits()
        paired = isinstance(session, boxmasks.Paired)
        self._read = reader(session, params, self.limits)
        self.companion_sha256 = companion_checksum(self.card, params)  # of the second model, where there is one
        self._workspaces: LifoQueue[Workspace] = LifoQueue()
        spec = self.card.input
        # a letterbox or a stretch needs the input's size, a crop the shorter side; a decode well above that is waste
        side = spec.resize.shorter_side
        whole = params.full_size or paired or getattr(params, "tile", 0) > 0 or spec.resize.rule == "keep"
        self._enough = None if whole else ((side, side) if side else (spec.height, spec.width))

    @property
    def fingerprint(self) -> str:
        """Names this way of computing results: models and parameters."""
        params = self.params.model_dump(mode="json")
        return fingerprint(self.params.pipeline, self.session.checksum, params, self.companion_sha256)

    def __call__(self, source: Source) -> Result:
        """Take one picture the whole way.

        Returns its result; a picture that can't be read or run gives a result with an error.
        """
        return self.process(source)[0]

    def process(self, source: Source, enough: tuple[int, int] | None = None) -> tuple[Result, Picture | None]:
        """Take one picture the whole way, and give the decoded picture too (None if it could not be decoded).

        enough: the (height, width) that someone else needs of the picture too, e.g. for drawing on it.
        """
        with self._workspace() as workspace:
            prepared = self.prepare(source, workspace, enough)
            if isinstance(prepared, Result):
                return prepared, None
            return self.finish(prepared, lambda tensor: self.session.run(tensor)), prepared.picture

    def prepare(self, source: Source, workspace: Workspace, enough: tuple[int, int] | None = None) -> Prepared | Result:
        """Read, decode and preprocess one picture; a picture that can't be read gives a failed result."""
        name, content = named(source)
        timings: dict[str, float] = {}
        sha256 = None
        watch = Stopwatch()
        try:
            if isinstance(content, np.ndarray):
                picture = Picture(_checked(content), content.shape[:2], ())
            else:
                data = content if isinstance(content, bytes) else read_bytes(Path(content), self.limits)
                timings["read"] = watch.lap()
                sha256 = hashlib.sha256(data).hexdigest()
                picture = decode(data, self.limits, self._sufficient(enough))
                timings["decode"] = watch.lap()
            plan, tensor = self._fitted(picture.pixels, tiles.whole_view(picture.size, self), workspace)
            timings["preprocess"] = watch.lap()
        except ImageError as error:
            return Result(name, error=Failure(error.code, str(error)), sha256=sha256, timings_ms=timings)
        return Prepared(name, picture, plan, tensor, sha256, timings)

    def finish(self, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Result:
        """Run a prepared picture and read its outputs; a failure inside the network becomes this picture's error."""

        def result(found: Found | None, error: Failure | None) -> Result:
            picture = prepared.picture
            return Result(
                prepared.name, found, error, picture.size, prepared.sha256, picture.conversions, prepared.timings_ms
            )

        try:
            if tiles.is_tiled(self, prepared.picture.size):
                found = tiles.run_tiled(self, prepared, run)
            else:
                found = self.read_timed(prepared, run)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime throws concerns this picture only
            return result(None, budget.explain(error, prepared.plan, self.card, self.params))
        return result(found, None)

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
        """Process many pictures, reading no more of `sources` ahead than there are pictures in work.

        threads: pictures in work at once; default: the cores this process may use.
        then: called in the picture's own thread with its result and pixels, before these leave memory.
        before: called with the picture's name before anything is done with it.
        stop: once set, no further picture is begun.
        enough: the (height, width) `then` needs of a picture that is decoded smaller than it is.
        ordered: give the results in the order of the sources, else as they come.
        batch: pictures a run; default: 1 on a CPU (measured: batching doesn't help there), GPU_BATCH on a GPU.
        Yields one result a source. Errors of `sources`, `then` and `before` end the map and are raised here.
        """
        from pipelines.batching import map_batched
        from pipelines.threads import map_threaded

        size = self._together(batch)
        if size > 1 and self.card.input.batch is None:
            return map_batched(
                self,
                sources,
                size,
                threads=threads,
                then=then,
                before=before,
                stop=stop,
                enough=enough,
                ordered=ordered,
            )

        def whole_way(source: Source) -> Result:
            if before is not None:
                before(named(source)[0])
            result, picture = self.process(source, enough)
            return then(result, picture) if then is not None else result

        return map_threaded(whole_way, sources, threads=threads, stop=stop, ordered=ordered)

    def _together(self, batch: int | None) -> int:
        """How many pictures go through the network in one run. batch: what the caller of `map` asked for."""
        return batch or (GPU_BATCH if self.session.on_gpu else 1)

    def warm(self, batch: int = GPU_BATCH) -> list[tuple[int, ...]]:
        """Run the network once for each shape it will commonly see, so that no picture waits for a GPU to prepare it.

        A network that takes any size is warmed for square, 4:3 and 3:4 pictures; others settle at their first batch.
        Returns the shapes run.
        """
        spec = self.card.input
        sizes = [(spec.height, spec.width)]
        if spec.dynamic:
            sizes += [(3 * spec.height // 4, spec.width), (spec.height, 3 * spec.width // 4)]
        batches = (1, batch) if spec.batch is None else (spec.batch,)
        with self._workspace() as workspace:
            shapes = []
            for plan in dict.fromkeys(plan_fit(size, spec).padded for size in sizes):
                single = to_tensor(np.zeros((*plan, 3), np.uint8), spec, workspace)
                for count in batches:
                    tensor = single if spec.layout == "CHW" else np.repeat(single, count, axis=0)
                    if self.session.on_gpu:
                        self.session.run_bound(self.session.bind(), tensor)
                    else:
                        self.session.run(tensor)
                    shapes.append(tensor.shape)
        return shapes

    def read_outputs(self, outputs: Sequence[Tensor], plan: Fit, pixels: Image | None = None) -> Found:
        """Turn one picture's raw outputs (without a batch axis) into what was found, in the picture's own pixels.

        pixels: the picture itself, which pipelines that give a picture may need.
        """
        return self._read(outputs, plan, pixels)

    def read_timed(self, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Found:
        """Run a prepared picture and read its outputs; adds the milliseconds to those in `prepared`."""
        return self._timed(prepared, run, prepared.tensor, prepared.plan, prepared.picture.pixels)

    def read_part(self, prepared: Prepared, place: tuple[int, int, int, int]) -> Found:
        """Run a rectangle of a prepared picture as if it were one itself; what is found is in its own pixels.

        place: left, top, right, bottom in pixels of the picture, which must have come whole. Adds the milliseconds to
        those in `prepared`.
        """
        left, top, right, bottom = place
        pixels = np.ascontiguousarray(prepared.picture.pixels[top:bottom, left:right])
        with self._workspace() as workspace:
            watch = Stopwatch()
            plan, tensor = self._fitted(pixels, plan_fit((bottom - top, right - left), self.card.input), workspace)
            prepared.timings_ms["preprocess"] += watch.lap()
            return self._timed(prepared, lambda given: self.session.run(given), tensor, plan, pixels)

    def _timed(
        self,
        prepared: Prepared,
        run: Callable[[Tensor], Sequence[Tensor]],
        tensor: Tensor,
        plan: Fit,
        pixels: Image,
    ) -> Found:
        timings, watch = prepared.timings_ms, Stopwatch()
        outputs = run(tensor)
        timings["session"] = timings.get("session", 0.0) + watch.lap()
        found = self._read(self._per_picture(outputs), plan, pixels)
        timings["postprocess"] = timings.get("postprocess", 0.0) + watch.lap()
        return found

    def _fitted(self, pixels: Image, plan: Fit, workspace: Workspace) -> tuple[Fit, Tensor]:
        spec = self.card.input
        budget.check_input(self.card, plan, self.params, self.limits)
        canvas = workspace.array("canvas", (*plan.padded, 3), np.uint8)
        return plan, to_tensor(fit(pixels, plan, spec.resize, canvas), spec, workspace)

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        try:
            workspace = self._workspaces.get_nowait()
        except Empty:
            workspace = Workspace()
        try:
            yield workspace
        finally:
            self._workspaces.put(workspace)

    def _sufficient(self, enough: tuple[int, int] | None) -> tuple[int, int] | None:
        if self._enough is None or enough is None:
            return self._enough
        return max(self._enough[0], enough[0]), max(self._enough[1], enough[1])

    def _per_picture(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.card.input.layout == "CHW":
            return outputs
        return [output[0] for output in outputs]


def build(
    path: Path,
    params: Mapping[str, Any] | None = None,
    *,
    pipeline: str | None = None,
    provider: Provider = "auto",
    allow_fallback: bool = False,
    threads: int = 1,
    limits: Limits | None = None,
) -> Pipeline:
    """Load a model file and a pipeline that runs it; default: the one its card names.

    Errors as `Session` and `resolve_params`.
    """
    if pipeline == OPTIMISE:
        from pipelines.optimise import Optimiser

        chosen = resolve_params(read_card(path), params or {}, pipeline)
        assert isinstance(chosen, OptimiseParams)  # noqa: S101 - the pipeline's name says so
        return Optimiser(path, chosen, limits, provider)
    session = Session(path, provider, allow_fallback=allow_fallback, threads=threads)
    if session.card.family == boxmasks.FAMILY:
        session = boxmasks.Paired(session, provider, allow_fallback=allow_fallback, threads=threads)
    resolved = resolve_params(session.card, params or {}, pipeline)
    if isinstance(resolved, GenerateParams):
        from pipelines.generate import Generator

        return Generator(session, resolved, limits)
    if isinstance(resolved, StylizeParams):
        from pipelines.repaint import Stylizer

        return Stylizer(session, resolved, limits)
    return Pipeline(session, resolved, limits)


def with_timing(result: Result, **stages_ms: float) -> Result:
    """Give a copy of a result with further stages' milliseconds."""
    return replace(result, timings_ms={**result.timings_ms, **stages_ms})


def named(source: Source) -> tuple[str, Content]:
    """Split a source into its name and its content."""
    if isinstance(source, tuple):
        return source
    if isinstance(source, bytes):
        return "bytes", source
    if isinstance(source, np.ndarray):
        return "array", source
    return str(source), source


def _checked(array: Image) -> Image:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ImageError(
            "unsupported_pixels", f"an array must be (H, W, 3) uint8 RGB, this one is {array.shape} {array.dtype}"
        )
    return array
