"""What earlier jobs left in an output folder, and what of it need not be computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import OutputError
from workers.folder import Source
from workers.formats import remove_formats, settle_formats
from workers.job_request import other_job
from workers.jobs import JobSpec
from workers.journal import RESULTS, Finished, drop_vanished, settle
from workers.manifest import sweep_manifests
from workers.output import remember, remembered, sweep_temporaries
from workers.registry import Registry


@dataclass(frozen=True, slots=True)
class Left:
    """What there was.

    finished: results that stand. drawn_up: whether report and all are there, made after the last result.
    """

    finished: Finished
    drawn_up: bool


def check_same_job(spec: JobSpec, *, force: bool) -> JobSpec:
    """Refuse to mix the results of two inputs or two pipelines in one folder.

    Returns the job with the formats it writes there, those of earlier jobs included. Raises OutputError.
    """
    note = remembered(Path(spec.output))
    other = other_job(note, spec)
    if other is not None and not force:
        raise OutputError(f"{spec.output} holds results of {other}: choose another --out or replace them with --force")
    return settle_formats(spec, note, same_job=other is None)


def take_over(spec: JobSpec, source: Source, *, force: bool) -> Left:
    """Settle what an earlier job left, and say what of it counts; the caller holds the folder.

    force: no result counts, but all stand until new ones replace them, image by image.
    Raises OutputError or OSError if that can't be written.
    """
    output = Path(spec.output)
    note: Mapping[str, Any] = remembered(output) or {}
    if not note.get("closed"):
        sweep_temporaries(output)
    settle(output)
    if other_job(note, spec) is not None:  # and --force was given: its results are in the way
        (output / RESULTS).unlink(missing_ok=True)
        remove_formats(output, note)
    vanished = drop_vanished(output, source.root)
    return Left(
        finished=Finished(output, None if force else spec.fingerprint, overlays=spec.overlays),
        drawn_up=bool(note.get("closed")) and not vanished and (output / "report.html").exists(),
    )


def end_orphan(registry: Registry, note: Mapping[str, Any] | None, output: Path) -> None:
    """End the job of a `run` into this folder that was killed: its images would be computed a second time.

    Raises OutputError if a client's job works into the folder; it is not ours to end.
    """
    job = None if (note or {}).get("closed") else ((note or {}).get("spec") or {}).get("job")
    if job is None or registry.store.progress(job).state != "running":
        return
    head = registry.head(job)
    if head is not None and head.owner == "client":
        raise OutputError(
            f"job {job} works into {output}: `pixelmill watch {job}` waits for it, `pixelmill cancel {job}` ends it; "
            "or choose another --out"
        )
    registry.store.end(job, "cancelled", "its client was killed, and another one took over")


def begin(spec: JobSpec) -> None:
    """Note that this job works into its folder from now on. Raises OutputError if that can't be written."""
    sweep_manifests(Path(spec.output))
    remember(Path(spec.output), {"spec": spec.model_dump(mode="json"), "closed": False})


def note_closed(spec: JobSpec) -> None:
    """Note that all of this job is drawn up. Raises OutputError if that can't be written."""
    remember(Path(spec.output), {"spec": spec.model_dump(mode="json"), "closed": True})
