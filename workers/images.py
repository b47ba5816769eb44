"""The images of one attempt on their way through the pipeline, each result written as soon as it is there."""

from __future__ import annotations

import errno
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from workers import logs, metrics
from workers.artefacts import (
    SHORTER_SIDE,
    mask_name,
    overlay_name,
    possible_names,
    write_mask,
    write_overlay,
    write_picture,
)
from workers.atomic import remove_temporaries
from workers.deadletters import DeadLetters
from workers.earlier import Earlier, Verdict, judge
from workers.jobs import NO_ROOT, JobSpec, Shard
from workers.journal import Journal, Line
from workers.lease import Tally
from workers.limits import Watchdog
from workers.patience import patiently
from workers.roots import is_inside
from workers.stepping import attended
from workers.store import JobStore

if TYPE_CHECKING:
    from pipelines.image import Picture
    from pipelines.pipeline import Pipeline
    from pipelines.results import Found, Result

log = logging.getLogger(__name__)

# Errors in writing an overlay, a mask or a picture that concern its name only.
_NAME_TROUBLE = {
    errno.ENAMETOOLONG: "its name is too long: a suffix is added for the file that belongs to its result",
    errno.ENOTDIR: "the folder of its result's file has the name of another result's file",
    errno.EEXIST: "the folder of its result's file has the name of another result's file",
    errno.EISDIR: "its result's file has the name of a folder of others",
}


@dataclass(slots=True)
class Work:
    """What an attempt and its images share.

    stop: set from outside, no further image is begun. urgency: asked between two images whether the rest should be put
    back. begun: images begun. yielded: the rest was put back.
    """

    shard: Shard
    store: JobStore
    roots: tuple[Path, ...]
    urgency: Callable[[], bool]
    tally: Tally = field(default_factory=Tally)
    stop: Event = field(default_factory=Event)
    begun: int = 0
    yielded: bool = False


class Images:
    """The images of one attempt on their way through the pipeline."""

    def __init__(
        self, work: Work, pipeline: Pipeline, journal: Journal, watchdog: Watchdog, shard_seconds: float = math.inf
    ) -> None:
        self.work, self.spec = work, work.shard.spec
        self.pipeline = attended(pipeline, work, watchdog, shard_seconds)
        self.journal, self.watchdog = journal, watchdog
        self.root, self.output = Path(self.spec.root), Path(self.spec.output)
        self.about = _about(self.spec, pipeline)
        self.enough = (SHORTER_SIDE, SHORTER_SIDE) if self.spec.overlays else None
        self.stats: dict[str, Line] = {}

    def take(self, remaining: list[str], earlier: Earlier, threads: int) -> None:
        """Take the images the whole way: those nobody suspects side by side, then each suspect alone."""
        suspects = earlier.suspects(remaining)
        for name in suspects:
            for written in possible_names(name):
                remove_temporaries(self.output / written)
        for name in suspects:
            if (verdict := judge(earlier, name)) is not None:
                self._give_up(name, verdict)
        suspects = [name for name in suspects if judge(earlier, name) is None]
        calm = [name for name in remaining if name not in earlier.vain]
        for _ in self.pipeline.map(
            self._sources(calm), threads=threads, then=self._write, before=self._begin, stop=self.work.stop,
            enough=self.enough, ordered=False,
        ):  # fmt: skip
            pass
        for name, path in self._sources(suspects):
            if self.work.stop.is_set():
                return
            self._take_alone(name, path)

    def _take_alone(self, name: str, path: Path) -> None:
        """Take a suspect through, step by step, so that if the process dies again it is known of what."""
        from pipelines.results import Result
        from pipelines.tensor import Workspace

        self._begin(name, "decoding")
        prepared = self.pipeline.prepare((name, path), Workspace(), self.enough)
        if isinstance(prepared, Result):
            self._write(prepared, None)
            return
        self.journal.start(name, "running the network")
        from pipelines.pipeline import Halted

        try:
            result = self.pipeline.finish(prepared, lambda tensor: self.pipeline.session.run(tensor))
        except Halted:
            return
        self.journal.start(name, "writing its result")
        self._write(result, prepared.picture)

    def _begin(self, name: str, stage: str = "") -> None:
        self.work.begun += 1
        logs.on_image(name)
        self.journal.start(name, stage)
        self.watchdog.begin(name)

    def _sources(self, names: list[str]) -> Iterator[tuple[str, Path]]:
        for name in names:
            # at least one image an attempt, so that a shard comes to its end however often somebody is more urgent
            if self.work.yielded or (self.work.begun and self.work.urgency()):
                self.work.yielded = True
                return
            if self.spec.root == NO_ROOT:
                yield name, Path(name)
                continue
            path = self.root / name
            if not is_inside(path, self.work.roots):
                failure = _failed(name, "outside_roots", "the file lies outside the folders this worker may read")
                self._write(failure, None)
                continue
            # before it is read: a file that changes meanwhile must not pass for finished by its new time
            self.stats[name] = _stat(path)
            yield name, path

    def _write(self, result: Result, picture: Picture | None) -> Result:
        logs.on_image(result.image)  # on a GPU another thread has begun it
        if not self.journal.is_current():
            self.work.stop.set()
            return result
        files: Line = {}
        if result.found is not None and picture is not None:
            overlay = self.spec.overlays
            result, files = _write_files(result, result.found, picture, self.output, overlay=overlay)
        line = {**result.to_json(), **files, **self.stats.pop(result.image, {}), **self.about}
        self.journal.result(line)
        self.watchdog.end(result.image)
        self.work.tally.add(line)
        metrics.image_done(self.spec.pipeline, line)
        if result.error is not None:
            log.info("%s: %s", result.error.code, result.error.message)
        logs.on_image(None)
        return result

    def _give_up(self, name: str, verdict: Verdict) -> None:
        """Name the image as failed, and put it to the dead letters: first these, for only the line ends the matter."""
        alone = self.work.shard.model_copy(update={"images": (name,)}).model_dump(mode="json")
        letters = DeadLetters(self.work.store)
        patiently(
            lambda: letters.add(
                "image", verdict.code, verdict.cause, causes=verdict.causes, job=self.spec.job,
                shard=self.work.shard.key, image=name,
                message=json.dumps({"task": "pixelmill.shard", "payload": alone}),
            ),
            "an image goes to the dead letters",
        )  # fmt: skip
        self._write(_failed(name, verdict.code, verdict.cause), None)


def _about(spec: JobSpec, pipeline: Pipeline) -> Line:
    return {
        "pipeline": spec.pipeline,
        "model": {"name": spec.model_name, "sha256": spec.model_sha256},
        "params": spec.params,
        "fingerprint": spec.fingerprint,
        "provider": pipeline.session.provider,
    }


def _write_files(result: Result, found: Found, picture: Picture, output: Path, *, overlay: bool) -> tuple[Result, Line]:
    """Write what belongs to a result beside its line; give the result, and what the line says about the files."""
    from pipelines.draw import draw
    from pipelines.pipeline import Stopwatch, with_timing
    from pipelines.results import RenderedPicture, SemanticMask

    watch, files = Stopwatch(), Line()
    # a picture that was made is the result: there is nothing to draw into it
    drawn = draw(picture.pixels, picture.size, found) if overlay and not isinstance(found, RenderedPicture) else None
    stages = {} if drawn is None else {"draw": watch.lap()}
    try:
        if isinstance(found, RenderedPicture):
            files["picture"] = {"file": write_picture(output, result.image, found), **found.to_json()["picture"]}
        elif isinstance(found, SemanticMask):
            files["mask"] = mask_name(result.image)
            write_mask(output / files["mask"], found)
        if drawn is not None:
            files["overlay"] = overlay_name(result.image)
            write_overlay(output / files["overlay"], drawn)
    except OSError as error:
        if error.errno not in _NAME_TROUBLE:
            raise
        return replace(_failed(result.image, "output_failed", _NAME_TROUBLE[error.errno]), sha256=result.sha256), {}
    if files:
        stages["write"] = watch.lap()
    return with_timing(result, **stages), files


def _failed(name: str, code: Any, message: str) -> Result:
    from pipelines.results import Failure, Result

    return Result(name, error=Failure(code, message))


def _stat(path: Path) -> Line:
    try:
        stat = path.stat()
    except OSError:
        return {}
    return {"file": {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}}
