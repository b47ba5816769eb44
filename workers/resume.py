"""What earlier jobs left in an output folder, and what of it need not be computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import OutputError
from workers.folder import Source
from workers.jobs import JobSpec
from workers.journal import RESULTS, Finished, drop_vanished, settle
from workers.manifest import sweep_manifests
from workers.output import remember, remembered, sweep_temporaries
from workers.job_request import other_job


@dataclass(frozen=True, slots=True)
class Left:
    """What there was.

    finished: results that stand. drawn_up: whether report and all are there, made after the last result.
    unfinished: the job that was not closed, if there was one; it may still be running somewhere.
    """

    finished: Finished
    drawn_up: bool
    unfinished: str | None


def check_same_job(spec: JobSpec, *, force: bool) -> None:
    """Refuse to mix the results of two inputs or two pipelines in one folder. Raises OutputError."""
    other = other_job(remembered(Path(spec.output)), spec)
    if other is not None and not force:
        raise OutputError(f"{spec.output} holds results of {other}: choose another --out or replace them with --force")


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
    vanished = drop_vanished(output, source.root)
    return Left(
        finished=Finished(output, None if force else spec.fingerprint, overlays=spec.overlays),
        drawn_up=bool(note.get("closed")) and not vanished and (output / "report.html").exists(),
        unfinished=None if note.get("closed") else (note.get("spec") or {}).get("job"),
    )


def begin(spec: JobSpec) -> None:
    """Note that this job works into its folder from now on. Raises OutputError if that can't be written."""
    sweep_manifests(Path(spec.output))
    remember(Path(spec.output), {"spec": spec.model_dump(mode="json"), "closed": False})


def note_closed(spec: JobSpec) -> None:
    """Note that all of this job is drawn up. Raises OutputError if that can't be written."""
    remember(Path(spec.output), {"spec": spec.model_dump(mode="json"), "closed": True})
