"""One attempt at one shard: the heart of a worker.

The attempt takes the lease, skips what earlier attempts finished, takes every other image the whole way, writes each
result to its own journal at once, and ends the shard. A heart-beat renews the lease meanwhile; when the lease is lost
or the job is cancelled, no further image is begun. Between two images it looks whether somebody more urgent waits, and
puts the rest back if so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pipelines.errors import ModelError, PixelmillError
from workers import logs, metrics
from workers.earlier import (
    FATAL_BEGINNINGS,
    FATAL_VANISHINGS,
    OVER_MEMORY,
    Earlier,
    earlier_attempts,
)
from workers.errors import WorkerError
from workers.images import Images, Work
from workers.jobs import JobSpec, Shard, new_attempt
from workers.journal import Journal
from workers.lease import heart_beat, take_lease
from workers.limits import EXIT_OVER_LIMIT, Limits, Watchdog
from workers.patience import backoff, patiently
from workers.roots import check_roots
from workers.settings import settings
from workers.store import Beat, JobStore
from workers.trouble import can_pass, let_rest, say_output
from workers.yielding import Urgency

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline

log = logging.getLogger(__name__)

OpenPipeline = Callable[[JobSpec], "Pipeline"]
GiveBack: TypeAlias = Callable[[str], None]

# how an attempt went: to its end; put back for somebody else; the job can't go on, or not now; something unexpected
Kind: TypeAlias = Literal["done", "yielded", "failed", "held up", "broke"]
HowItWent: TypeAlias = Callable[[Kind, str], None]

_TRIES_ELSEWHERE = 5  # attempts at a shard after which a model that loaded once is taken for one that loads nowhere


def attempt_shard(
    shard: Shard,
    store: JobStore,
    open_pipeline: OpenPipeline,
    *,
    threads: int,
    lease_seconds: float,
    roots: tuple[Path, ...],
    limits: Limits | None = None,
    give_back: GiveBack | None = None,
    went: HowItWent | None = None,
) -> None:
    """Make one attempt at a shard.

    give_back: publishes the message of a shard whose rest is put back; without it the next sweep does.
    went: is told how the attempt went, and why.
    Returns quietly if the shard is done, the job has ended or another living process works on it. Anything that
    concerns the whole job (a model that won't load, a full disk) ends the job with its reason, or puts the shard off if
    the job has patience.
    """
    attempt = new_attempt()
    metrics.waited(store, settings().queue, shard.spec, shard.key)
    number = patiently(
        lambda: take_lease(store, shard.spec.job, shard.key, attempt, lease_seconds), f"shard {shard.key} begins"
    )
    if number:
        with logs.at_work(shard.spec.job, shard.key):
            _Attempt(shard, attempt, number, store, lease_seconds, roots, limits or Limits()).make(
                open_pipeline, threads, give_back, went
            )


class _Attempt:
    """The state of one attempt while it goes on."""

    def __init__(
        self,
        shard: Shard,
        attempt: str,
        number: int,
        store: JobStore,
        lease_seconds: float,
        roots: tuple[Path, ...],
        limits: Limits,
    ) -> None:
        self.shard, self.spec, self.attempt, self.number = shard, shard.spec, attempt, number
        self.store, self.lease_seconds, self.limits = store, lease_seconds, limits
        self.output = Path(self.spec.output)
        urgency = Urgency(store, settings().queue, self.spec.priority, limits.shard_seconds)
        self.work = Work(shard, store, roots, urgency)

    def make(
        self, open_pipeline: OpenPipeline, threads: int, give_back: GiveBack | None, tell: HowItWent | None
    ) -> None:
        """Work, and end the attempt as it went."""
        spec, key = self.spec, self.shard.key
        tally, stop = self.work.tally, self.work.stop
        with heart_beat(self.store, spec.job, key, self.attempt, self.lease_seconds, tally, stop) as stopped:
            kind, reason = self._work(open_pipeline, threads)
            went = "stopped" if stopped and kind in ("done", "yielded") else kind
            log.info("attempt %d: %s, %d images ok, %d failed", self.number, went, tally.ok, tally.failed)
            metrics.attempt_ended(spec.pipeline, went)
            if tell is not None:
                tell(kind, reason)
            if kind in ("failed", "held up") and patiently(lambda: self._rests(reason, kind == "held up"), "it fails"):
                return
        if kind == "broke":
            patiently(lambda: self._break(reason), "an attempt broke")
            return
        if stop.is_set() and kind not in ("failed", "held up") and "cancelled" not in stopped:
            log.warning("shard %s of job %s left unfinished: another attempt has it", key, spec.job)
            return
        if kind == "yielded" and not stopped:
            message = patiently(lambda: self.store.take_back(spec.job, key, self.attempt), "a shard is put back")
            if message is not None and give_back is not None:
                give_back(message)
            return
        # a job that was cancelled or failed counts what this attempt did, and need not wait for its lease to run out
        counts = tally.ok, tally.failed_by_code
        if not patiently(lambda: self.store.finish(spec.job, key, self.attempt, *counts), "a shard ends"):
            log.warning("shard %s of job %s was taken over by another attempt", key, spec.job)

    def _work(self, open_pipeline: OpenPipeline, threads: int) -> tuple[Kind, str]:
        """Do the work; give how it went, and why."""
        spec = self.spec
        try:
            check_roots(spec, self.work.roots)
            # only where there were any: the folder of a large job's journals takes long to look through
            earlier = self._earlier() if self.number > 1 else Earlier()
            self._check_beginnings(earlier)
            pipeline = open_pipeline(spec)
            patiently(lambda: self.store.note_provider(spec.job, pipeline.session.provider), "a provider is noted")
            self._process(pipeline, earlier, threads)
        except PixelmillError as error:
            log.exception("attempt %s at shard %s of job %s ends", self.attempt, self.shard.key, spec.job)
            elsewhere = isinstance(error, ModelError) and self._loaded_elsewhere()
            return ("held up" if elsewhere else "failed"), str(error)
        except OSError as error:
            log.exception("attempt %s at shard %s of job %s ends", self.attempt, self.shard.key, spec.job)
            return ("held up" if can_pass(error) else "failed"), say_output(error, spec)
        except MemoryError:
            return "broke", f"{OVER_MEMORY}: an allocation was refused"
        except Exception as error:
            # a defect of ours or of a library: the image it came with is found like one that kills its process
            log.exception("attempt %s at shard %s of job %s broke", self.attempt, self.shard.key, spec.job)
            return "broke", f"broke with {type(error).__name__}: {str(error)[:300]}"
        return ("yielded" if self.work.yielded else "done"), ""

    def _loaded_elsewhere(self) -> bool:
        """Whether the job's model has loaded somewhere, so that others may do what can't be done here."""
        progress = patiently(lambda: self.store.progress(self.spec.job), "a model does not load")
        return self.number < _TRIES_ELSEWHERE and progress.provider is not None

    def _earlier(self) -> Earlier:
        deaths = patiently(lambda: self.store.deaths(self.spec.job, self.shard.key), "earlier attempts are looked up")
        return earlier_attempts(self.output, self.spec.job, self.shard.key, deaths)

    def _check_beginnings(self, earlier: Earlier) -> None:
        died, vanished = earlier.deaths_before_any_image(), self.number - 1 - len(earlier.attempts)
        if died >= FATAL_BEGINNINGS or vanished >= FATAL_VANISHINGS:
            cause = next((cause for a, cause in earlier.causes.items() if a not in earlier.attempts), "")
            raise WorkerError(
                f"workers died {max(died, vanished)} times while they loaded model {self.spec.model}"
                f"{f' ({cause})' if cause else ''}: is there memory enough for it? Their log says more"
            )

    def _rests(self, reason: str, passes: bool) -> bool:
        """End the job, or let the shard rest if what is wrong can pass and the job is patient: then True."""
        spec, key = self.spec, self.shard.key
        # an attempt that was frozen and has lost its shard has no say any more, whatever it met when it woke
        if self._beat() == "lost":
            return False
        if passes and let_rest(self.store, spec, key, self.attempt, reason, self.number - 1):
            return True
        self.store.end(spec.job, "failed", reason)
        return False

    def _beat(self) -> Beat:
        counts = self.work.tally.ok, self.work.tally.failed
        return self.store.beat(self.spec.job, self.shard.key, self.attempt, self.lease_seconds, *counts)

    def _break(self, cause: str) -> None:
        pause = backoff(self.number - 1, least=1.0, most=60.0)
        self.store.note_death(self.spec.job, self.shard.key, self.attempt, cause)
        self.store.take_back(self.spec.job, self.shard.key, self.attempt, pause)

    def _process(self, pipeline: Pipeline, earlier: Earlier, threads: int) -> None:
        for line in earlier.finished.values():
            self.work.tally.add(line)
        remaining = [name for name in self.shard.images if name not in earlier.finished]
        if not remaining:
            return
        journal = Journal(self.output, self.spec.job, self.shard.key, self.attempt)
        beat = patiently(self._beat, "a journal is begun")
        if beat != "ok":
            # frozen until somebody else was done: perhaps the job has been closed, and nobody would merge this any more
            journal.discard()
            if beat == "lost":
                self.work.stop.set()
            return
        with Watchdog(self.limits, lambda cause, names: self._over_limit(journal, cause, names)) as watchdog:
            try:
                images = Images(self.work, pipeline, journal, watchdog, self.limits.shard_seconds)
                images.take(remaining, earlier, threads)
            finally:
                journal.close()

    def _over_limit(self, journal: Journal, cause: str, names: list[str]) -> None:
        """End this process: no thread can be made to let go of its image."""
        try:
            journal.stopped(cause, names)
            self.store.note_death(self.spec.job, self.shard.key, self.attempt, cause)
            self.store.take_back(self.spec.job, self.shard.key, self.attempt)
        finally:
            log.error("this process ends itself over %s: %s", ", ".join(names), cause)
            os._exit(EXIT_OVER_LIMIT)
