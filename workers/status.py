"""How a job is, in the words users see. The states, and what leads from one to the next: docs/jobs.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from workers.deadline import end_if_overdue
from workers.optimising import waits_for
from workers.outbox import Delivery, deliveries
from workers.queues import Priority, lane_of
from workers.registry import Head, Registry
from workers.settings import settings, without_secrets
from workers.stepping import steps_of
from workers.store import Progress

JobState: TypeAlias = Literal["pending", "running", "done", "done with failures", "failed", "cancelled", "dead"]

GIVEN_UP = frozenset({"crashed", "timed_out", "out_of_memory"})  # codes of images that go to the dead letters
_DEAD = "every image was given up for what it did to its worker; `pixelmill dead list` says what"
ENDED: frozenset[JobState] = frozenset({"done", "done with failures", "failed", "cancelled", "dead"})


@dataclass(frozen=True, slots=True)
class Status:
    """A job at one moment; numbers count images.

    total: all of the job's images, None while they are still listed. finished: those with a result or an error, `kept`
    ones of an earlier job included. at_work: shards in work now. created, ended: ISO 8601, the server's time.
    reason: why the job failed or was cancelled; trouble: what keeps it from going on at the moment.
    deadline: when it must be over, likewise. webhook: whom its end is told, without what may be secret in the URL;
    deliveries: how that went so far. steps: how far pictures are that take many.
    """

    job: str
    state: JobState
    pipeline: str
    model: str
    source: str
    output: str
    priority: Priority
    total: int | None
    finished: int
    kept: int
    failed: int
    failed_by_code: Mapping[str, int]
    at_work: int
    created: str
    ended: str | None
    seconds: float
    images_per_second: float
    provider: str | None
    reason: str | None
    trouble: str | None
    deadline: str | None = None
    webhook: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    steps: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to the job any more."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        """The status for scripts."""
        return {**asdict(self), "failed_by_code": dict(self.failed_by_code)}


@dataclass(slots=True)
class View:
    """What a progress display may show; updated while the run goes on."""

    total: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    phase: str = "starting"
    steps: str = ""


def status_of(registry: Registry, job: str) -> Status | None:
    """Read how a job is; None if the service does not know it. A job past its deadline ends here at the latest."""
    head, progress, now = registry.head(job), registry.store.progress(job), registry.now()
    if head is not None and end_if_overdue(registry, head, progress, now):
        head, progress = registry.head(job), registry.store.progress(job)
    if head is None:
        return None
    log = deliveries(registry.store, settings().queue, job) if head.webhook else ()
    status = _status(head, progress, now, log)
    if lane_of(status.pipeline) == "plain" or status.has_ended:
        return status
    if status.state == "pending":
        nobody = waits_for(registry.store, settings().queue, status.pipeline)
        return replace(status, trouble=status.trouble or nobody)
    return replace(status, steps=steps_of(registry.store, job, progress.live))


def _status(head: Head, progress: Progress, now: float, log: tuple[Delivery, ...]) -> Status:
    spec = head.spec
    ran = progress.ok + progress.failed + progress.partly
    seconds = max(0.0, (head.ended or now) - head.created)
    state = _state(progress, ran, head.kept)
    return Status(
        job=spec.job,
        state=state,
        pipeline=spec.pipeline,
        model=spec.model_name,
        source=head.source,
        output=spec.output,
        priority=spec.priority,
        total=None if head.shards is None else head.images + head.kept,
        finished=head.kept + ran,
        kept=head.kept,
        failed=progress.failed,
        failed_by_code=progress.failed_by_code,
        at_work=len(progress.live),
        created=_moment(head.created),
        ended=None if head.ended is None else _moment(head.ended),
        seconds=round(seconds, 2),
        images_per_second=round(ran / seconds, 2) if seconds > 0 else 0.0,
        provider=progress.provider,
        reason=_DEAD if state == "dead" else progress.reason,
        trouble=head.trouble,
        deadline=None if head.deadline is None else _moment(head.deadline),
        webhook=without_secrets(head.webhook) if head.webhook else None,
        deliveries=log,
    )


def _state(progress: Progress, ran: int, kept: int) -> JobState:
    if progress.state == "running":
        return "running" if ran or progress.live else "pending"
    if progress.state == "closed":
        if progress.failed and not progress.ok + kept and progress.failed_by_code.keys() <= GIVEN_UP:
            return "dead"
        return "done with failures" if progress.failed else "done"
    return progress.state


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
