"""`run`: one job from its input to its report, with a broker and a worker of its own unless one is configured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from pipelines.errors import PixelmillError
from workers.deadline import seconds_left
from workers.errors import BrokerError, JobError, OutputError, WorkerError
from workers.feeder import Feeder
from workers.folder import Source
from workers.formats import Stopped, missing_formats, write_format
from workers.interrupts import Interrupts
from workers.job_request import Request, resolve
from workers.jobs import JobSpec
from workers.journal import Finished, Totals, settle, totals
from workers.listing import Listing
from workers.optimising import check_own_worker, shard_images, waits_for
from workers.output import claim_output, prove_writable, remembered
from workers.queues import lane_of
from workers.registry import Registry
from workers.resume import Left, begin, check_same_job, end_orphan, note_closed, take_over
from workers.services import Service, service_for
from workers.settings import Settings, settings
from workers.status import View
from workers.stepping import steps_of
from workers.store import JobStore, Progress

_POLL_SECONDS = 0.1
_PROVE_SECONDS = 0.5
_ALONE_SECONDS = 5.0  # with shards to do and nobody at work on them
_STOP_SECONDS = 3.0  # images in work are finished and kept when a run is interrupted


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
        spec, source = resolve(request)
        check_own_worker(spec, settings())
        with claim_output(Path(spec.output)):
            spec = check_same_job(spec, force=request.force)
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
        self.output = Path(spec.output)
        self.config: Settings = settings()
        self.provider: str | None = None
        self.first_result: float | None = None
        self._first_seen = self._last_seen = (0.0, 0)  # (seconds, images done)
        self.last: Progress | None = None
        self._alone_since: float | None = None
        self._proved = time.monotonic()
        self._stepwise = lane_of(spec.pipeline) == "torch"

    def execute(self) -> Outcome:
        """Settle what an earlier run left, compute the rest, close the job."""
        try:
            self._end_orphan()
            left = take_over(self.spec, self.source, force=self.request.force)
            if left.drawn_up and left.finished and not self._remaining_any(left.finished):
                return self._add_formats()
            begin(self.spec)
            try:
                self._work(left)
            except PixelmillError:
                with contextlib.suppress(OSError):
                    settle(self.output)  # what was finished is there to see, although the job ends here
                raise
            if self.interrupts.requested:
                settle(self.output)
                return self._outcome(interrupted=True)
            note_closed(self.spec)
            return self._outcome(interrupted=False)
        except OSError as error:
            where = error.filename or self.output
            raise OutputError(f"{where} can't be written: {error.strerror or error}") from error

    def _add_formats(self) -> Outcome:
        """Write formats that are asked for only now, or are gone; all the rest is finished."""
        missing = missing_formats(self.spec)
        if not missing:
            return self._outcome(interrupted=False)
        self.view.phase = "formats"
        self._refresh(self.view)
        note_closed(self.spec)  # before anything is written: what is noted may be replaced
        try:
            for name in missing:
                write_format(name, self.spec, lambda: self.interrupts.requested)
        except Stopped:
            return self._outcome(interrupted=True)
        except ValueError as error:
            raise JobError(str(error)) from error
        return self._outcome(interrupted=False)

    def _end_orphan(self) -> None:
        """End what a killed run left behind in a service; one of its own died with it."""
        note = remembered(self.output)
        if self.config.broker is not None and note is not None and not note.get("closed"):
            store = JobStore(self.config.store or self.config.broker)
            store.ping()
            end_orphan(Registry(store), note, self.output)

    def _remaining_any(self, finished: Finished) -> bool:
        for found in self.source.scan():
            if self.interrupts.requested or not finished.covers(found, self.source.root):
                self.view.skipped = 0
                return True
            self.view.skipped += 1
        return False

    def _work(self, left: Left) -> None:
        """Compute what is not finished."""
        with service_for(self.spec, self.config, self.interrupts) as service:
            registry = Registry(service.store)
            registry.create(self.spec, self.request.source, "run", seconds=seconds_left(self.request.deadline))
            listing = Listing(
                self.spec,
                self.source,
                left.finished,
                largest=shard_images(self.spec, self.config),
                hands=2 if service.worker is not None else 8,
                cancelled=lambda: self.interrupts.requested,
            )
            listing.start(registry)
            try:
                self._drive(registry, service, listing)
            except Exception:
                self._give_up(service)
                raise
            if self.interrupts.requested:
                self._give_up(service)
            elif service.worker is None:
                registry.forget(self.spec.job)

    def _drive(self, registry: Registry, service: Service, listing: Listing) -> None:
        self.view.phase = self.spec.pipeline
        feeder = Feeder(service.app, registry, self.config.queue)
        begun = False
        while not self.interrupts.requested:
            if listing.failure is not None:
                raise listing.failure
            try:
                listed = listing.complete
                head = registry.head(self.spec.job)
                progress = service.store.progress(self.spec.job)  # after the head: `Feeder.feed` says why
                if self._stepwise:
                    self.view.steps = steps_of(service.store, self.spec.job, progress.live)
                if not begun and head is not None:  # the workers' steward goes on
                    begun = feeder.feed(head, progress.open) + progress.open > 0 and listed
                if service.worker is not None:
                    service.worker.watch(self._done(progress))
                    self._prove_that_it_writes(registry)
            except WorkerError:
                prove_writable(self.output)  # a worker can't even start on a broker whose disk is full
                raise
            except redis.RedisError as error:
                if service.worker is not None:
                    prove_writable(self.output)  # the embedded broker's data lie there: a full disk is the usual cause
                reason = str(error).strip().rstrip(".")
                raise BrokerError(f"the broker went away ({reason}); the same command continues the job") from error
            self._show(progress, listing)
            if progress.state == "failed":
                raise JobError(progress.reason or "the job failed without a reason")
            if progress.state == "closed":
                return
            if progress.state == "cancelled":
                raise JobError(
                    "the broker no longer knows this job: it was cancelled, or the broker lost its data. The same "
                    "command continues it"
                )
            self._look_for_workers(progress, service)
            time.sleep(_POLL_SECONDS if self.first_result is not None else _POLL_SECONDS / 4)

    def _prove_that_it_writes(self, registry: Registry) -> None:
        """Raise redis.RedisError if the embedded broker's disk is full: reading works, and its worker waits."""
        if time.monotonic() - self._proved > _PROVE_SECONDS:
            registry.note_trouble(self.spec.job, None)
            self._proved = time.monotonic()

    def _look_for_workers(self, progress: Progress, service: Service) -> None:
        """Say so if a service seems to have no worker."""
        now = time.monotonic()
        if service.worker is not None or progress.live or not progress.open:
            self._alone_since = None
            drawing_up = self.view.total is not None and self.view.skipped + self.view.done >= self.view.total
            self.view.phase = "report" if drawing_up else self.spec.pipeline
            return
        self._alone_since = self._alone_since or now
        if now - self._alone_since > _ALONE_SECONDS:
            nobody = waits_for(service.store, self.config.queue, self.spec.pipeline)
            self.view.phase = nobody or "waiting for a worker, `pixelmill worker` starts one"

    def _done(self, progress: Progress) -> int:
        return progress.ok + progress.failed + progress.partly

    def _show(self, progress: Progress, listing: Listing | None = None) -> None:
        self.last = progress
        if listing is not None:
            self.view.total, self.view.skipped = listing.total, listing.kept
        self.provider = progress.provider or self.provider
        self.view.done, self.view.failed = self._done(progress), progress.failed
        now = time.monotonic() - self.started
        if self.view.done and self.first_result is None:
            self.first_result = now
            self._first_seen = (now, self.view.done)
        if self.view.done > self._last_seen[1]:
            self._last_seen = (now, self.view.done)
        self._refresh(self.view)

    def _give_up(self, service: Service) -> None:
        """End the job where it is; images in work are finished and kept."""
        store: JobStore = service.store
        with contextlib.suppress(redis.RedisError):
            if store.progress(self.spec.job).state == "running":
                store.end(self.spec.job, "cancelled")
            deadline = time.monotonic() + _STOP_SECONDS
            while True:
                progress = store.progress(self.spec.job)
                self._show(progress)
                served = service.worker is None or service.worker.is_alive()
                if not progress.live or not served or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)

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
