"""`run`: one job from its input to its report, with a broker and a worker of its own unless one is configured."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from pipelines.card import Card, Provider, model_checksum
from pipelines.catalog import PipelineEntry, find_pipeline, model_for
from pipelines.errors import PixelmillError
from pipelines.params import fingerprint, resolve_params
from workers.artefacts import FOLDERS
from workers.embedded import EmbeddedBroker, EmbeddedWorker, preload_json, remove_broker_data
from workers.errors import BrokerError, JobError, OutputError
from workers.feeder import Feeder, cut
from workers.folder import Source, open_source
from workers.interrupts import Interrupts
from workers.jobs import JobSpec, new_job_id
from workers.journal import RESULTS, STATE, Finished, Totals, drop_vanished, settle, totals
from workers.output import claim_output, prove_writable, remember, remembered, sweep_temporaries
from workers.settings import Settings, settings
from workers.store import JobStore, Progress

_POLL_SECONDS = 0.1
_ALONE_SECONDS = 5.0  # with shards to do and nobody at work on them
_STOP_SECONDS = 3.0  # images in work are finished and kept when a run is interrupted


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked `run` to do."""

    pipeline: str
    source: str
    output: Path
    model: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    overlays: bool = True
    force: bool = False
    provider: Provider = "auto"
    allow_fallback: bool = False


@dataclass(slots=True)
class View:
    """What a progress display may show; updated while the run goes on."""

    total: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    phase: str = "starting"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. totals: all of `results.jsonl`; ran: images computed by this run."""

    spec: JobSpec
    totals: Totals
    ran: int
    skipped: int
    seconds: float
    provider: str | None
    interrupted: bool
    first_result_seconds: float | None
    steady_images_per_second: float | None  # between the first and the last result seen; None for short runs

    @property
    def images_per_second(self) -> float:
        """Images computed by this run per second of the whole command; 0 if there were none."""
        return self.ran / self.seconds if self.ran and self.seconds else 0.0


def run(request: Request, view: View, refresh: Callable[[View], None]) -> Outcome:
    """Do a whole job.

    refresh: called now and then with what there is to show.
    Raises PixelmillError if the job can't run or go on; what was finished is kept, and the same request continues.
    """
    started = time.monotonic()
    with Interrupts() as interrupts:
        entry = find_pipeline(request.pipeline)
        model_path, card = model_for(entry, request.model)
        params = resolve_params(card, request.params, entry.name)
        source = open_source(request.source)
        output = Path(os.path.realpath(os.path.expanduser(request.output)))  # noqa: PTH111 - must not raise for ~name
        _refuse_overlap(source, output)
        spec = _spec(request, entry, model_path, card, params.model_dump(mode="json"), source, output)
        with claim_output(output):
            _check_same_job(output, spec, request)
            return _Run(request, spec, source, view, refresh, interrupts, started).execute()


class _Run:
    """The state of one run while it goes on."""

    def __init__(
        self,
        request: Request,
        spec: JobSpec,
        source: Source,
        view: View,
        refresh: Callable[[View], None],
        interrupts: Interrupts,
        started: float,
    ) -> None:
        self.request, self.spec, self.source = request, spec, source
        self.view, self._refresh, self.interrupts, self.started = view, refresh, interrupts, started
        self.started_at = datetime.now(UTC)
        self.output = Path(spec.output)
        self.config: Settings = settings()
        self.scanned = 0
        self.provider: str | None = None
        self.first_result: float | None = None
        self._first_seen = self._last_seen = (0.0, 0)  # (seconds, images done)
        self.last: Progress | None = None
        self._alone_since: float | None = None

    def execute(self) -> Outcome:
        """Settle what an earlier run left, compute the rest, close the job."""
        try:
            note = remembered(self.output) or {}
            if not note.get("closed"):
                sweep_temporaries(self.output)
            settle(self.output)
            if _other_job(note, self.spec) is not None:  # and --force was given: its results are in the way
                (self.output / RESULTS).unlink(missing_ok=True)
            vanished = drop_vanished(self.output, self.source.root)
            # with --force the old results stand until the new ones replace them, image by image
            reusable = None if self.request.force else self.spec.fingerprint
            finished = Finished(self.output, reusable, overlays=self.request.overlays)
            drawn_up = note.get("closed") and not vanished and (self.output / "report.html").exists()
            if drawn_up and finished and not self._remaining_any(finished):
                return self._outcome(interrupted=False)
            remember(self.output, {"spec": self.spec.model_dump(mode="json"), "closed": False})
            try:
                self._work(finished, None if note.get("closed") else note.get("spec", {}).get("job"))
            except PixelmillError:
                with contextlib.suppress(OSError):
                    settle(self.output)  # what was finished is there to see, although the job ends here
                raise
            if self.interrupts.requested:
                settle(self.output)
                return self._outcome(interrupted=True)
            remember(self.output, {"spec": self.spec.model_dump(mode="json"), "closed": True})
            return self._outcome(interrupted=False)
        except OSError as error:
            where = error.filename or self.output
            raise OutputError(f"{where} can't be written: {error.strerror or error}") from error

    def _remaining_any(self, finished: Finished) -> bool:
        for found in self.source.scan():
            if self.interrupts.requested or not finished.covers(found, self.source.root):
                self.view.skipped = 0
                return True
            self.view.skipped += 1
        return False

    def _names(self, finished: Finished) -> Iterator[str]:
        for found in self.source.scan():
            if self.interrupts.requested:  # a million finished images take a while to pass over
                return
            self.scanned += 1
            if finished.covers(found, self.source.root):
                self.view.skipped += 1
            else:
                yield found.name

    def _work(self, finished: Finished, orphan: str | None) -> None:
        """Compute what is not finished. orphan: the job of a run into this folder that was killed."""
        with self._services() as (app, store, worker):
            if orphan is not None and store.progress(orphan).state == "running":
                store.end(orphan, "cancelled")  # a service would compute the same images a second time
            store.create(self.spec.job)
            count = threading.Thread(target=self._count, daemon=True)
            count.start()
            hands = 2 if worker is not None else 8
            shards = cut(self._names(finished), self.config.shard_images, self._left, hands)
            feeder = Feeder(app, store, self.spec, shards, self.config.queue)
            try:
                self._drive(feeder, store, worker)
            except Exception:
                self._give_up(store, worker)
                raise
            if self.interrupts.requested:
                self._give_up(store, worker)
            elif worker is None:
                store.forget(self.spec.job)

    def _drive(self, feeder: Feeder, store: JobStore, worker: EmbeddedWorker | None) -> None:
        self.view.phase = self.spec.pipeline
        open_shards, closing = 0, False
        while not self.interrupts.requested:
            try:
                if not closing:
                    feeder.feed(open_shards)
                progress = store.progress(self.spec.job)
                lost = worker is not None and worker.watch(self._done(progress))
                feeder.bring_back(progress, lost)
            except redis.RedisError as error:
                if worker is not None:
                    prove_writable(self.output)  # the embedded broker's data lie there: a full disk is the usual cause
                reason = str(error).strip().rstrip(".")
                raise BrokerError(f"the broker went away ({reason}); the same command continues the job") from error
            open_shards = progress.open
            self._show(progress)
            if progress.state == "failed":
                raise JobError(progress.reason or "the job failed without a reason")
            if progress.state == "closed":
                return
            if progress.state == "cancelled":
                raise JobError(
                    "the broker no longer knows this job: it was cancelled, or the broker lost its data. The same "
                    "command continues it"
                )
            self._look_for_workers(progress, worker)
            if feeder.exhausted and progress.open == 0 and not closing:
                closing = True
                self.view.phase = "report"
                feeder.close(self._summary(progress))
            time.sleep(_POLL_SECONDS if self.first_result is not None else _POLL_SECONDS / 4)

    def _look_for_workers(self, progress: Progress, worker: EmbeddedWorker | None) -> None:
        """Say so if a service seems to have no worker."""
        now = time.monotonic()
        if worker is not None or progress.live or not progress.open:
            self._alone_since = None
            self.view.phase = "report" if self.view.phase == "report" else self.spec.pipeline
            return
        self._alone_since = self._alone_since or now
        if now - self._alone_since > _ALONE_SECONDS:
            self.view.phase = "waiting for a worker, `pixelmill worker` starts one"

    def _done(self, progress: Progress) -> int:
        return progress.ok + progress.failed + progress.partly

    def _show(self, progress: Progress) -> None:
        self.last = progress
        self.provider = progress.provider or self.provider
        self.view.done, self.view.failed = self._done(progress), progress.failed
        now = time.monotonic() - self.started
        if self.view.done and self.first_result is None:
            self.first_result = now
            self._first_seen = (now, self.view.done)
        if self.view.done > self._last_seen[1]:
            self._last_seen = (now, self.view.done)
        self._refresh(self.view)

    def _count(self) -> None:
        with contextlib.suppress(JobError):  # the scan itself meets it too and ends the run
            self.view.total = self.source.count()

    def _left(self) -> int | None:
        return None if self.view.total is None else max(0, self.view.total - self.scanned)

    def _give_up(self, store: JobStore, worker: EmbeddedWorker | None) -> None:
        """End the job where it is; images in work are finished and kept."""
        with contextlib.suppress(redis.RedisError):
            if store.progress(self.spec.job).state == "running":
                store.end(self.spec.job, "cancelled")
            deadline = time.monotonic() + _STOP_SECONDS
            while True:
                progress = store.progress(self.spec.job)
                self._show(progress)
                served = worker is None or worker.is_alive()
                if not progress.live or not served or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def _services(self) -> Iterator[tuple[Any, JobStore, EmbeddedWorker | None]]:
        """Broker, store and (embedded) worker; what this run started is gone afterwards, whatever happens."""
        if self.config.broker is not None:
            store = JobStore(self.config.store or self.config.broker)
            store.ping()
            from workers.app import make_app

            yield make_app(self.config.broker), store, None
            return
        data = self.output / STATE / "broker"
        remove_broker_data(data)
        if self.config.embedded_data is not None:
            data = self.config.embedded_data / self.spec.job  # never that folder itself: it is removed afterwards
        broker = EmbeddedBroker(data)
        log = self.output / STATE / "worker.log"
        log.unlink(missing_ok=True)
        worker = EmbeddedWorker(broker.url, self.config, log, broker.temporary, preload_json(self.spec))
        try:
            worker.start()
            from workers.app import make_app  # while the worker starts: Celery takes a third of a second to import

            yield make_app(broker.url), JobStore(broker.url), worker
        finally:
            self.interrupts.cleaning = True
            worker.stop(grace_seconds=0)
            broker.stop()

    def _summary(self, progress: Progress) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        ran = progress.ok + progress.failed
        return {
            "pipeline": self.spec.pipeline,
            "root": self.spec.root,
            "model": {"name": self.spec.model_name, "sha256": self.spec.model_sha256},
            "params": self.spec.params,
            "provider": self.provider,
            "done": progress.ok,
            "failed": progress.failed,
            "failed_by_code": dict(progress.failed_by_code),
            "images_per_second": round(ran / seconds, 2) if seconds else 0,
            "seconds": round(seconds, 2),
            "started": self.started_at.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "kept": self.view.skipped,
            "interrupted": False,
        }

    def _outcome(self, *, interrupted: bool) -> Outcome:
        ran = self.last.ok + self.last.failed + self.last.partly if self.last is not None else 0
        return Outcome(
            spec=self.spec,
            totals=totals(self.output),
            ran=ran,
            skipped=self.view.skipped,
            seconds=time.monotonic() - self.started,
            provider=self.provider,
            interrupted=interrupted,
            first_result_seconds=self.first_result,
            steady_images_per_second=self._steady_rate(),
        )

    def _steady_rate(self) -> float | None:
        (since, first), (until, last) = self._first_seen, self._last_seen
        return (last - first) / (until - since) if until - since > 1 else None


def _spec(
    request: Request,
    entry: PipelineEntry,
    model_path: Path,
    card: Card,
    params: dict[str, Any],
    source: Source,
    output: Path,
) -> JobSpec:
    checksum = model_checksum(model_path)
    return JobSpec(
        job=new_job_id(),
        pipeline=entry.name,
        model=str(model_path),
        model_name=card.name,
        model_sha256=checksum,
        params=params,
        fingerprint=fingerprint(entry.name, checksum, params),
        root=str(source.root),
        output=str(output),
        overlays=request.overlays,
        provider=request.provider,
        allow_fallback=request.allow_fallback,
    )


def _check_same_job(output: Path, spec: JobSpec, request: Request) -> None:
    """Refuse to mix the results of two inputs or two pipelines in one folder."""
    other = _other_job(remembered(output), spec)
    if other is not None and not request.force:
        raise OutputError(f"{output} holds results of {other}: choose another --out or replace them with --force")


def _other_job(note: dict[str, Any] | None, spec: JobSpec) -> str | None:
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


def _refuse_overlap(source: Source, output: Path) -> None:
    """What is drawn and made must not be found as input by the next run."""
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
