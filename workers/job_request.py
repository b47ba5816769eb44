"""What a user asks for, checked and resolved: pipeline, model, parameters, input and output become a job's spec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.card import Provider, model_checksum
from pipelines.catalog import find_pipeline, model_for
from pipelines.companions import companion_checksum
from pipelines.params import fingerprint, resolve_params
from workers.artefacts import FOLDERS
from workers.deadline import When
from workers.errors import OutputError
from workers.folder import Source, open_source
from workers.formats import asks_for_overlays, choose_formats
from workers.jobs import NO_ROOT, JobSpec, check_concurrency, new_job_id
from workers.queues import Priority
from workers.seeds import Seeds, check_input


@dataclass(frozen=True, slots=True)
class Request:
    """A pipeline to be applied to some images, with results into a folder.

    source: as the user wrote it (a file, a folder, a glob, a list file); images: what it means, where that is known.
    force: compute all images again, and replace results of another job in the same folder.
    deadline: when the job must be over; webhook: URL that is told when the job has ended.
    concurrency: how many processes of the service may work on it at once; None: all.
    formats: as `workers.formats.choose_formats` takes them; None: those written into the folder before, or the usual.
    """

    pipeline: str
    source: str
    output: Path
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    overlays: bool = True
    force: bool = False
    provider: Provider = "auto"
    allow_fallback: bool = False
    priority: Priority = "normal"
    images: Source | None = None
    formats: tuple[str, ...] | None = None
    deadline: When | None = None
    webhook: str = ""
    concurrency: int | None = None


def resolve(request: Request) -> tuple[JobSpec, Source]:
    """Turn a request into a job of its own and the images it is about; nothing is written.

    Raises ParameterError, ModelError, SourceError or OutputError, each with what to do.
    """
    concurrency = check_concurrency(request.concurrency)
    entry = find_pipeline(request.pipeline)
    model_path, card = model_for(entry, request.model, request.params)
    resolved = resolve_params(card, request.params, entry.name)
    params, companion = resolved.model_dump(mode="json"), companion_checksum(card, resolved)
    formats = choose_formats(entry.name, request.formats) if request.formats is not None else None
    check_input(entry.name, request.images)
    source = request.images or open_source(request.source)
    output = Path(os.path.realpath(os.path.expanduser(request.output)))  # noqa: PTH111 - must not raise for ~name
    refuse_overlap(source, output)
    checksum = model_checksum(model_path)
    spec = JobSpec(
        job=new_job_id(),
        pipeline=entry.name,
        model=str(model_path),
        model_name=card.name,
        model_sha256=checksum,
        params=params,
        fingerprint=fingerprint(entry.name, checksum, params, companion),
        companion_sha256=companion,
        root=NO_ROOT if isinstance(source, Seeds) else str(source.root),
        output=str(output),
        overlays=request.overlays or asks_for_overlays(request.formats or ()),
        formats=formats,
        provider=request.provider,
        allow_fallback=request.allow_fallback,
        priority=request.priority,
        concurrency=concurrency,
    )
    return spec, source


def other_job(note: Mapping[str, Any] | None, spec: JobSpec) -> str | None:
    """Say in what a folder's last job differs from this one so that their results can't stand side by side."""
    before = (note or {}).get("spec")
    if not before:
        return None
    for what, then, now in (
        ("pipeline", before.get("pipeline"), spec.pipeline),
        ("input", before.get("root"), spec.root),
    ):
        if then != now:
            return f"{what} {then}, not {now}"
    return None


def refuse_overlap(source: Source, output: Path) -> None:
    """What is drawn and made must not be found as input by the next run."""
    if isinstance(source, Seeds):
        return
    if source.names is None and (output == source.root or output.is_relative_to(source.root)):
        raise OutputError(
            f"output folder {output} lies in the input folder {source.root}, so the next run would take the drawn "
            "pictures for input: choose an --out outside it"
        )
    for name in source.names or ("",):
        image = Path(os.path.realpath(source.root / name))
        if any(image.is_relative_to(output / folder) for folder in FOLDERS):
            raise OutputError(
                f"{source.root} holds pictures that were drawn into {output}: choose another SRC or --out"
            )
