"""Submitting a job: once it is confirmed, nothing depends on the client any more."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from workers.deadline import seconds_left
from workers.errors import JobError, OutputError
from workers.feeder import Feeder
from workers.folder import Found, Source
from workers.job_request import Request, resolve
from workers.jobs import JobSpec
from workers.journal import RESULTS
from workers.listing import Listing
from workers.optimising import shard_images
from workers.output import claim_output, remembered
from workers.registry import Registry
from workers.resume import begin, check_same_job, end_orphan, take_over
from workers.roots import check_image, check_roots
from workers.services import Service
from workers.settings import Settings
from workers.status import status_of
from workers.webhooks import check_webhook

_PATIENCE_SECONDS = 10.0  # for another client that submits into the same folder
_HANDS = 8  # a service may have many


def submit(request: Request, service: Service, config: Settings, key: str = "") -> str:
    """Submit a job, and give its id when the service has all there is to know of it.

    key: the client's own name for the job; without one, the digest of pipeline, model, parameters, output folder and
    every image's name, size and time stands for it. A job that has this key already, and neither failed nor was
    cancelled, is the one meant: its id is given, and nothing is submitted.
    Raises JobError, ParameterError or ModelError if the job can't run; then nothing of it is queued.
    """
    seconds = seconds_left(request.deadline)
    check_webhook(request.webhook, config)
    spec, source = resolve(request)
    roots = config.allowed_roots if config.roots else None
    if roots is not None:
        check_roots(spec, roots)
    service.store.check_room(config.queue, config.queue_limit)
    spec = spec.model_copy(update={"patience_seconds": config.patience_seconds})
    registry, output = Registry(service.store), Path(spec.output)
    with claim_output(output, _PATIENCE_SECONDS):
        spec = check_same_job(spec, force=request.force)
        digest = _digest(spec, source, roots)
        name = f"{config.queue}:client:{key}" if key else f"{config.queue}:digest:{digest}"
        before = registry.meaning(name)
        if before is not None and not (request.force and not key) and _stands(registry, before, spec, named=bool(key)):
            return before
        try:
            end_orphan(registry, remembered(output), output)
            left = take_over(spec, source, force=request.force)
            begin(spec)
            registry.create(spec, request.source, "client", name, seconds, request.webhook)
            meant = registry.claim(name, spec.job, before or "")
            if meant != spec.job:  # another client was quicker, with the same key and another output folder
                registry.forget(spec.job)
                return meant
            listing = Listing(spec, source, left.finished, largest=shard_images(spec, config), hands=_HANDS)
            _list_and_feed(listing, registry, service, config)
        except OSError as error:
            where = error.filename or output
            raise OutputError(f"{where} can't be written: {error.strerror or error}") from error
    return spec.job


def _list_and_feed(listing: Listing, registry: Registry, service: Service, config: Settings) -> None:
    job = listing.spec.job
    try:
        listing.write(registry)
        head = registry.head(job)
        if head is not None:
            Feeder(service.app, registry, config.queue).feed(head, service.store.progress(job).open)
    except BaseException as error:
        service.store.end(job, "cancelled", f"its submission did not come to an end: {error or type(error).__name__}")
        raise


def _digest(spec: JobSpec, source: Source, roots: tuple[Path, ...] | None) -> str:
    """Name a job by what it is about; on the way, refuse images outside the roots."""
    told = hashlib.sha256(json.dumps([spec.fingerprint, spec.output, spec.root, spec.overlays, spec.formats]).encode())
    for found in source.scan():
        if roots is not None and (source.names is not None or (source.root / found.name).is_symlink()):
            check_image(source.root / found.name, roots)
        told.update(_about(found))
    return told.hexdigest()[:32]


def _about(found: Found) -> bytes:
    return os.fsencode(found.name) + b"\0%d %d\0" % (found.size, found.mtime_ns)


def _stands(registry: Registry, job: str, spec: JobSpec, *, named: bool) -> bool:
    """Whether an earlier job with the same key is still the one meant.

    Raises JobError if the client gave the same name to something else.
    """
    status, head = status_of(registry, job), registry.head(job)
    if status is None or head is None:
        return False
    if named and (head.spec.fingerprint, head.spec.root, head.spec.output) != (
        spec.fingerprint, spec.root, spec.output
    ):  # fmt: skip
        raise JobError(
            f"key {head.key.rpartition(':')[2]!r} means job {job}, which has another input, model, parameter or output "
            f"folder ({head.spec.output}): choose another key"
        )
    if status.state in ("failed", "cancelled", "dead"):
        return False
    if not status.has_ended:
        return True
    # done; unless its results were removed, or another job has replaced them
    note = remembered(Path(spec.output)) or {}
    return (note.get("spec") or {}).get("job") == job and (Path(spec.output) / RESULTS).exists()
