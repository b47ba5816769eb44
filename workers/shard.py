"""One attempt at one shard: the heart of a worker.

The attempt takes the lease, skips what earlier attempts finished, takes every other image the whole way, writes each
result to its own journal at once, and ends the shard. A heart-beat renews the lease meanwhile; when the lease is lost
or the job is cancelled, no further image is begun.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from pipelines.errors import PixelmillError
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
from workers.errors import OutputError, WorkerError
from workers.jobs import JobSpec, Shard, new_attempt
from workers.journal import FATAL_STARTS, Earlier, Journal, Line, earlier_attempts
from workers.lease import Tally, heart_beat, take_lease
from workers.store import JobStore

if TYPE_CHECKING:
    from pipelines.image import Picture
    from pipelines.pipeline import Pipeline
    from pipelines.results import Found, Result

log = logging.getLogger(__name__)

# So many attempts at a shard that ended before any image was begun are not bad luck.
FATAL_BEGINNINGS = 5

# Errors in writing an overlay, a mask or a picture that concern its name only.
_NAME_TROUBLE = {
    errno.ENAMETOOLONG: "its name is too long: a suffix is added for the file that belongs to its result",
    errno.ENOTDIR: "the folder of its result's file has the name of another result's file",
    errno.EEXIST: "the folder of its result's file has the name of another result's file",
    errno.EISDIR: "its result's file has the name of a folder of others",
}

OpenPipeline = Callable[[JobSpec], "Pipeline"]


def attempt_shard(
    shard: Shard,
    store: JobStore,
    open_pipeline: OpenPipeline,
    *,
    threads: int,
    lease_seconds: float,
    roots: tuple[Path, ...],
) -> None:
    """Make one attempt at a shard.

    Returns quietly if the shard is done, the job has ended or another living process works on it. Anything that
    concerns the whole job (a model that won't load, a full disk) ends the job with its reason.
    """
    spec, attempt = shard.spec, new_attempt()
    number = take_lease(store, spec.job, shard.key, attempt, lease_seconds)
    if not number:
        return
    tally, stop, failed = Tally(), Event(), True

    def fail(reason: str) -> None:
        log.exception("attempt %s at shard %s of job %s ends", attempt, shard.key, spec.job)
        # an attempt that was frozen and has lost its shard has no say any more, whatever it met when it woke
        if store.beat(spec.job, shard.key, attempt, lease_seconds, tally.ok, tally.failed) != "lost":
            store.end(spec.job, "failed", reason)

    with heart_beat(store, spec.job, shard.key, attempt, lease_seconds, tally, stop) as stopped:
        try:
            _check_roots(spec, roots)
            # only where there were any: the folder of a large job's journals takes long to look through
            earlier = earlier_attempts(Path(spec.output), spec.job, shard.key) if number > 1 else Earlier()
            if number - 1 - earlier.attempts >= FATAL_BEGINNINGS:
                raise WorkerError(
                    f"workers died {number - 1 - earlier.attempts} times while they loaded model {spec.model}: is "
                    "there memory enough for it? Their log says more"
                )
            pipeline = open_pipeline(spec)
            store.note_provider(spec.job, pipeline.session.provider)
            _process(shard, attempt, earlier, pipeline, tally, stop, threads, roots)
            failed = False
        except PixelmillError as error:
            fail(str(error))
        except OSError as error:
            fail(_say_output(error, spec))
    if stop.is_set() and not failed and "cancelled" not in stopped:
        log.warning("shard %s of job %s left unfinished: another attempt has it", shard.key, spec.job)
        return
    # a job that was cancelled or failed counts what this attempt still did, and need not wait for its lease to run out
    if not store.finish(spec.job, shard.key, attempt, tally.ok, tally.failed_by_code):
        log.warning("shard %s of job %s was taken over by another attempt", shard.key, spec.job)


def _process(
    shard: Shard,
    attempt: str,
    earlier: Earlier,
    pipeline: Pipeline,
    tally: Tally,
    stop: Event,
    threads: int,
    roots: tuple[Path, ...],
) -> None:
    spec = shard.spec
    root, output = Path(spec.root), Path(spec.output)
    for line in earlier.finished.values():
        tally.add(line)
    remaining = [name for name in shard.images if name not in earlier.finished]
    if not remaining:
        return
    about = _about(spec, pipeline)
    stats: dict[str, Line] = {}
    journal = Journal(output, spec.job, shard.key, attempt)

    def write(result: Result, picture: Picture | None) -> Result:
        if not journal.is_current():
            stop.set()
            return result
        files: Line = {}
        if result.found is not None and picture is not None:
            result, files = _write_files(result, result.found, picture, output, overlay=spec.overlays)
        line = {**result.to_json(), **files, **stats.pop(result.image, {}), **about}
        journal.result(line)
        tally.add(line)
        return result

    def sources(names: list[str]) -> Iterator[Any]:
        for name in names:
            path = root / name
            if not _inside(path, roots):
                failure = _failed(name, "outside_roots", "the file lies outside the folders this worker may read")
                write(failure, None)
                continue
            # before it is read: a file that changes meanwhile must not pass for finished by its new time
            stats[name] = _stat(path)
            yield name, path

    try:
        calm, suspects = _suspects(remaining, earlier)
        for name in suspects:
            for written in possible_names(name):
                remove_temporaries(output / written)
        for name in [n for n in suspects if earlier.starts[n] >= FATAL_STARTS]:
            write(
                _failed(
                    name, "crashed", f"the process died {earlier.starts[name]} times while it worked on this image"
                ),
                None,
            )
            suspects.remove(name)
        enough = (SHORTER_SIDE, SHORTER_SIDE) if spec.overlays else None
        # a suspect runs alone, so that if the process dies again the guilty image is known
        for names, width, batch in ((calm, threads, None), (suspects, 1, 1)):
            for _ in pipeline.map(
                sources(names),
                threads=width,
                then=write,
                before=journal.start,
                stop=stop,
                enough=enough,
                ordered=False,
                batch=batch,
            ):
                pass
    finally:
        journal.close()


def _suspects(remaining: list[str], earlier: Earlier) -> tuple[list[str], list[str]]:
    suspects = [name for name in remaining if earlier.starts.get(name)]
    return [name for name in remaining if name not in earlier.starts], suspects


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


def _inside(path: Path, roots: tuple[Path, ...]) -> bool:
    try:
        resolved = Path(os.path.realpath(path))  # Path.resolve raises for a link that leads back to itself
    except ValueError:  # a name no file can have
        return False
    return any(resolved.is_relative_to(root) for root in roots)


def _check_roots(spec: JobSpec, roots: tuple[Path, ...]) -> None:
    for what, folder in (("output folder", spec.output), ("input folder", spec.root), ("model file", spec.model)):
        if not _inside(Path(folder), roots) and not (what == "model file" and _is_known_model(folder)):
            allowed = ", ".join(map(str, roots))
            raise OutputError(
                f"{what} {folder} lies outside the folders the worker may touch ({allowed}): set PIXELMILL_ROOTS or "
                "`pixelmill worker --root`"
            )


def _is_known_model(path: str) -> bool:
    from pipelines.catalog import model_folders

    return any(Path(path).resolve().parent == folder.resolve() for folder in model_folders())


def _say_output(error: OSError, spec: JobSpec) -> str:
    what = error.filename or spec.output
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        full = "the disk is full" if error.errno == errno.ENOSPC else f"a limit is reached ({error.strerror})"
        return f"{full}: {what} could not be written. Free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what} can't be written ({error.strerror}): check the permissions of {spec.output}"
    return f"{what}: {error.strerror or error}"
