"""The state of jobs in this process: the twin of `workers.store`, for tests. It is gone with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock

from workers.queues import PRIORITIES, Priority, above
from workers.seam import Beat, Progress, State, Store
from workers.settings import settings


@dataclass(slots=True)
class _Attempt:
    token: str
    until: float
    ok: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Shard:
    message: str
    attempts: int = 0
    live: _Attempt | None = None
    deaths: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    queue: str
    priority: Priority
    state: State = "running"
    ok: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    shards: dict[str, _Shard] = field(default_factory=dict)
    reason: str | None = None
    provider: str | None = None
    held_up: float | None = None


class MemoryStore(Store):
    """The state of jobs in dictionaries, behind one lock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds; a test may bring its own."""
        self._clock = clock
        self._lock = RLock()
        self._jobs: dict[str, _Job] = {}
        self._looked_after: dict[str, set[str]] = {}
        self._waiting: dict[tuple[str, str], dict[str, float]] = {}  # queue, priority → member → since
        self._later: dict[str, dict[str, float]] = {}
        self._finished: dict[str, dict[int, int]] = {}  # queue → minute → images

    def create(self, job: str, *, queue: str | None = None, priority: Priority = "normal") -> None:
        """See `Store`."""
        with self._lock:
            queue = queue or settings().queue
            self._jobs[job] = _Job(queue, priority)
            self._looked_after.setdefault(queue, set()).add(job)

    def open(self, job: str, shard: str, message: str) -> None:
        """See `Store`."""
        with self._lock:
            self._jobs[job].shards[shard] = _Shard(message)
            self._wait(job, shard)

    def begin(self, job: str, shard: str, attempt: str, lease_seconds: float) -> tuple[str, str]:
        """See `Store`."""
        with self._lock:
            found = self._jobs.get(job)
            if found is None or found.state != "running":
                self._wait_no_more(job, shard)
                return "gone", ""
            if (entry := found.shards.get(shard)) is None:
                return "done", ""
            if entry.live is not None and entry.live.until > self._clock():
                return "busy", entry.live.token
            self._wait_no_more(job, shard)
            entry.live = _Attempt(attempt, self._clock() + lease_seconds)
            entry.attempts += 1
            return "begun", str(entry.attempts)

    def beat(self, job: str, shard: str, attempt: str, lease_seconds: float, ok: int, failed: int) -> Beat:
        """See `Store`."""
        with self._lock:
            if (entry := self._held(job, shard, attempt)) is None:
                return "lost"
            if self._jobs[job].state != "running":
                return "cancelled"
            entry.live = _Attempt(attempt, self._clock() + lease_seconds, ok, failed)
            return "ok"

    def finish(self, job: str, shard: str, attempt: str, ok: int, failed_by_code: Mapping[str, int]) -> bool:
        """See `Store`."""
        with self._lock:
            if self._held(job, shard, attempt) is None:
                return False
            self._wait_no_more(job, shard)
            found = self._jobs[job]
            del found.shards[shard]
            found.ok += ok
            found.held_up = None
            for code, count in failed_by_code.items():
                found.failed[code] = found.failed.get(code, 0) + count
            self.count_finished(found.queue, ok + sum(failed_by_code.values()))
            return True

    def take_back(self, job: str, shard: str, attempt: str = "", pause: float = 0.0) -> str | None:
        """See `Store`."""
        with self._lock:
            entry = self._entry(job, shard)
            if entry is None or entry.live is None:
                return None
            if (entry.live.token != attempt) if attempt else (entry.live.until > self._clock()):
                return None
            entry.live = None
            if self._jobs[job].state == "running":
                self._wait(job, shard, pause)
            return entry.message

    def wait(self, job: str, shard: str) -> str | None:
        """See `Store`."""
        with self._lock:
            entry = self._entry(job, shard)
            if entry is None or self._jobs[job].state != "running":
                self._wait_no_more(job, shard)
                return None
            if entry.live is not None:
                return None
            self._wait_no_more(job, shard)
            self._wait(job, shard)
            return entry.message

    def note_death(self, job: str, shard: str, attempt: str, cause: str) -> None:
        """See `Store`."""
        with self._lock:
            if (entry := self._entry(job, shard)) is not None:
                entry.deaths.setdefault(attempt, cause)

    def deaths(self, job: str, shard: str) -> dict[str, str]:
        """See `Store`."""
        with self._lock:
            entry = self._entry(job, shard)
            return dict(entry.deaths) if entry is not None else {}

    def holder(self, job: str, shard: str) -> str | None:
        """See `Store`."""
        with self._lock:
            entry = self._entry(job, shard)
            return entry.live.token if entry is not None and entry.live is not None else None

    def expired(self, job: str) -> list[str]:
        """See `Store`."""
        with self._lock:
            live = {shard: entry.live for shard, entry in self._shards(job).items() if entry.live is not None}
            over = [(one.until, shard) for shard, one in live.items() if one.until <= self._clock()]
            return [shard for _, shard in sorted(over)]

    def messages(self, job: str) -> dict[str, str]:
        """See `Store`."""
        with self._lock:
            return {shard: entry.message for shard, entry in self._shards(job).items()}

    def progress(self, job: str) -> Progress:
        """See `Store`."""
        with self._lock:
            found = self._jobs.get(job)
            if found is None:
                return Progress("cancelled", 0, {}, 0, {})
            live = {shard: entry.live for shard, entry in found.shards.items() if entry.live is not None}
            return Progress(
                state=found.state,
                ok=found.ok,
                failed_by_code=dict(found.failed),
                open=len(found.shards),
                live={shard: one.token for shard, one in live.items()},
                reason=found.reason,
                provider=found.provider,
                partly=sum(one.ok + one.failed for one in live.values()),
            )

    def end(self, job: str, state: State, reason: str | None = None) -> None:
        """See `Store`."""
        with self._lock:
            found = self._jobs.get(job)
            if found is not None and found.state == "running":
                found.state, found.reason = state, reason
                self.leave_service(job)

    def hold_up(self, job: str, reason: str) -> float:
        """See `Store`."""
        with self._lock:
            found, now = self._jobs[job], self._clock()
            found.held_up = now if found.held_up is None else found.held_up
            return now - found.held_up

    def note_provider(self, job: str, provider: str) -> None:
        """See `Store`."""
        with self._lock:
            self._jobs[job].provider = provider

    def forget(self, job: str) -> None:
        """See `Store`."""
        with self._lock:
            self.leave_service(job)
            self._jobs.pop(job, None)

    def leave_service(self, job: str) -> None:
        """See `Store`."""
        with self._lock:
            if (found := self._jobs.get(job)) is not None:
                self._looked_after[found.queue].discard(job)
                for shard in found.shards:
                    self._wait_no_more(job, shard)

    def running(self, queue: str) -> list[str]:
        """See `Store`."""
        with self._lock:
            return sorted(self._looked_after.get(queue, ()))

    def waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, int]:
        """See `Store`."""
        with self._lock:
            return {priority: len(self._waiting.get((queue, priority), ())) for priority in names}

    def waited(self, queue: str, priority: str, member: str) -> float | None:
        """See `Store`."""
        with self._lock:
            since = self._waiting.get((queue, priority), {}).get(member)
            return None if since is None else max(0.0, self._clock() - since)

    def oldest_waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, float]:
        """See `Store`."""
        with self._lock:
            since = {priority: self._waiting.get((queue, priority), {}).values() for priority in names}
            return {priority: max(0.0, self._clock() - min(each)) for priority, each in since.items() if each}

    def count_finished(self, queue: str, images: int) -> None:
        """See `Store`."""
        with self._lock:
            minute, before = int(self._clock() // 60), self._finished.get(queue, {})
            kept = {m: count for m, count in before.items() if m > minute - 60}
            self._finished[queue] = {**kept, minute: kept.get(minute, 0) + images}

    def finished_by_minute(self, queue: str) -> list[int]:
        """See `Store`."""
        with self._lock:
            minute, found = int(self._clock() // 60), self._finished.get(queue, {})
            return [found.get(m, 0) for m in range(minute - 59, minute + 1)]

    def due(self, queue: str) -> list[str]:
        """See `Store`."""
        with self._lock:
            over = [(at, member) for member, at in self._later.get(queue, {}).items() if at <= self._clock()]
            return [member for _, member in sorted(over)]

    def more_urgent(self, queue: str, priority: Priority) -> bool:
        """See `Store`."""
        with self._lock:
            return any(self._waiting.get((queue, other)) for other in above(priority))

    def _shards(self, job: str) -> dict[str, _Shard]:
        found = self._jobs.get(job)
        return {} if found is None else found.shards

    def _entry(self, job: str, shard: str) -> _Shard | None:
        return self._shards(job).get(shard)

    def _held(self, job: str, shard: str, attempt: str) -> _Shard | None:
        entry = self._entry(job, shard)
        return entry if entry is not None and entry.live is not None and entry.live.token == attempt else None

    def _wait(self, job: str, shard: str, pause: float = 0.0) -> None:
        found, now = self._jobs[job], self._clock()
        if pause > 0:
            self._later.setdefault(found.queue, {})[f"{job} {shard}"] = now + pause
        else:
            self._waiting.setdefault((found.queue, found.priority), {})[f"{job} {shard}"] = now

    def _wait_no_more(self, job: str, shard: str) -> None:
        if (found := self._jobs.get(job)) is not None:
            self._waiting.get((found.queue, found.priority), {}).pop(f"{job} {shard}", None)
            self._later.get(found.queue, {}).pop(f"{job} {shard}", None)
