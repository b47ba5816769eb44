"""The storage seam: what the state of jobs, shards and attempts offers, whatever keeps it.

Two things keep it: `workers.store.JobStore` in Redis or Valkey, for services, and `workers.memory_store.MemoryStore` in
this process, for tests. One contract is tested against both (tests/workers/test_store_contract.py). What is known of a
whole service (its workers, dead letters and webhooks) is the server's own business and no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from workers.errors import QueueFullError
from workers.queues import PRIORITIES, WAITING, Priority

KEEP_SECONDS = 7 * 24 * 3600  # state of a job that nobody ended

State: TypeAlias = Literal["running", "closed", "failed", "cancelled"]
Beat: TypeAlias = Literal["ok", "lost", "cancelled"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, counted in images.

    open: shards submitted and not ended. live: attempts at work, shard key → token.
    """

    state: State
    ok: int
    failed_by_code: Mapping[str, int]
    open: int
    live: Mapping[str, str]
    reason: str | None = None
    provider: str | None = None
    partly: int = 0  # images finished within shards that are still at work

    @property
    def failed(self) -> int:
        """Images that gave an error."""
        return sum(self.failed_by_code.values())


class Store(Protocol):
    """The state of jobs. Each call is one step: nobody sees half of it.

    A shard is *open* from its submission to its end. A worker that begins it gets a lease, named by its attempt token,
    and renews it while it works. A lease that ran out may be taken over or back by anyone; from then on the old token
    is worth nothing: its renewals and its end are refused (the fence). Delivering a message twice therefore changes
    nothing. A shard that is open and not in work *waits*, by the priority of its job, or until a *later* time.
    """

    def create(self, job: str, *, queue: str | None = None, priority: Priority = "normal") -> None:
        """Make a job known as running. queue: of the service; default: the one in the settings."""

    def open(self, job: str, shard: str, message: str) -> None:
        """Keep a shard's message until the shard has ended, so that it can be published again; it waits from now on."""

    def begin(self, job: str, shard: str, attempt: str, lease_seconds: float) -> tuple[str, str]:
        """Ask for the lease of a shard.

        Returns ("begun", number of the attempt) | ("busy", token of who has it) | ("done", "") | ("gone", "").
        """
        ...

    def beat(self, job: str, shard: str, attempt: str, lease_seconds: float, ok: int, failed: int) -> Beat:
        """Renew a lease and say how many images are finished within the shard.

        "lost": another attempt has the shard. "cancelled": the job has ended. Either way, stop.
        """
        ...

    def finish(self, job: str, shard: str, attempt: str, ok: int, failed_by_code: Mapping[str, int]) -> bool:
        """End a shard; False if the lease was lost (then nothing changes)."""
        ...

    def take_back(self, job: str, shard: str, attempt: str = "", pause: float = 0.0) -> str | None:
        """End a lease that ran out, or the named attempt's whatever its lease says; the shard waits again.

        pause: seconds before it may run again; then `due` gives it, and nobody publishes it now.
        Returns the shard's message, to be published again; None if there was nothing to take back.
        """
        ...

    def wait(self, job: str, shard: str) -> str | None:
        """Let an open shard that nobody holds wait from now on.

        Returns its message, to be published (again); None if it is held, done, or its job has ended.
        """
        ...

    def note_death(self, job: str, shard: str, attempt: str, cause: str) -> None:
        """Remember what ended an attempt's process; the first cause stays."""

    def deaths(self, job: str, shard: str) -> dict[str, str]:
        """What ended earlier attempts at an open shard: attempt → cause."""
        ...

    def holder(self, job: str, shard: str) -> str | None:
        """The attempt that is at work on a shard."""
        ...

    def expired(self, job: str) -> list[str]:
        """Shards whose lease ran out."""
        ...

    def messages(self, job: str) -> dict[str, str]:
        """The open shards' messages."""
        ...

    def progress(self, job: str) -> Progress:
        """Read how far a job is; one that is not known is cancelled."""
        ...

    def end(self, job: str, state: State, reason: str | None = None) -> None:
        """End a running job; one that has ended stays as it ended."""

    def hold_up(self, job: str, reason: str) -> float:
        """Note what keeps a job from going on; gives for how many seconds, since a shard last ended."""
        ...

    def note_provider(self, job: str, provider: str) -> None:
        """Remember which execution provider really serves a job."""

    def forget(self, job: str) -> None:
        """Delete a job's state."""

    def leave_service(self, job: str) -> None:
        """Nothing of this job waits any more, and nobody needs to look after it."""

    def running(self, queue: str) -> list[str]:
        """The jobs of a service that have not ended."""
        ...

    def waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, int]:
        """How many shards wait, by priority. names: of `workers.queues.WAITING`; those for torch have names apart."""
        ...

    def waited(self, queue: str, priority: str, member: str) -> float | None:
        """For how many seconds a `job shard` has waited; None if it does not."""
        ...

    def oldest_waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, float]:
        """For how many seconds the oldest waiting shard has waited, by priority; without those where none waits."""
        ...

    def count_finished(self, queue: str, images: int) -> None:
        """Count images that were finished outside of a job; those of a shard count when it ends."""

    def finished_by_minute(self, queue: str) -> list[int]:
        """Images finished in each of the last sixty minutes, the current one last."""
        ...

    def due(self, queue: str) -> list[str]:
        """The `job shard` of those whose pause is over; they stay until `wait` lets them wait."""
        ...

    def more_urgent(self, queue: str, priority: Priority) -> bool:
        """Whether a shard waits that goes before those of this priority."""
        ...

    def check_room(self, queue: str, most: int) -> None:
        """Raise QueueFullError if so many shards wait that the service takes no further job; most: 0 for no limit.

        Those that wait for a worker with PyTorch count too.
        """
        if most and (waiting := sum(self.waiting(queue, WAITING).values())) >= most:
            raise QueueFullError(
                f"the queue {queue!r} is full: {waiting} shards wait, {most} may. Submit again later, start more "
                "workers, or raise PIXELMILL_QUEUE_LIMIT"
            )
