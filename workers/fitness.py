"""Whether a worker is fit: one that fails again and again where others manage takes itself out, and tries again later.

A full disk or a folder that is not mounted can be one machine's own trouble. Such a worker fails fast, so it is free
more often than its healthy peers and takes most of the messages. Its pool processes tell in the store how their
attempts went; its consume loop looks there once a second. It stops taking messages after some failures in a row, if
another worker that is ready has finished a shard of one of the same jobs meanwhile: what no machine can do is the job's
trouble and nobody's reason to leave (docs/decisions/0020-unfit-workers.md).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from workers.store import JobStore

log = logging.getLogger(__name__)

IN_A_ROW = 3  # fewer than the deaths while loading after which a job is given up
FIRST_PAUSE_SECONDS = 10.0  # until a worker that took itself out tries again; each time in vain doubles it
LONGEST_PAUSE_SECONDS = 300.0
_KEEP_SECONDS = 3600
_JOBS_KEPT = 10

Change: TypeAlias = Literal["leave", "return"]

_MANAGED = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], redis.call('TIME')[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a worker met. count: failures in a row. since: server time of the first, in seconds. jobs: the last ones."""

    count: int = 0
    since: int = 0
    reason: str = ""
    jobs: tuple[str, ...] = ()


class Reports:
    """How the attempts of workers went, as they tell each other. worker: a parent's name by `loaded.process_name`."""

    def __init__(self, store: JobStore, queue: str) -> None:
        self._redis: Any = store.redis
        self._troubles = f"pixelmill-service:{queue}:troubles"
        self._of_job = f"pixelmill-service:{queue}:managed:"
        self._managed = self._redis.register_script(_MANAGED)

    def managed(self, worker: str, job: str) -> None:
        """A shard of a job was done. Raises redis.RedisError."""
        self._managed(keys=[self._troubles, self._of_job + job], args=[worker, _KEEP_SECONDS])

    def failed(self, worker: str, job: str, reason: str) -> None:
        """An attempt failed for a reason that may lie with the machine. Raises redis.RedisError."""
        before = self.trouble(worker)
        jobs = (*(one for one in before.jobs if one != job), job)[-_JOBS_KEPT:]
        self._write(worker, Trouble(before.count + 1, before.since or self._redis.time()[0], reason, jobs))

    def trouble(self, worker: str) -> Trouble:
        """What a worker met since its last success. Raises redis.RedisError."""
        text = self._redis.hget(self._troubles, worker)
        if text is None:
            return Trouble()
        told = json.loads(text)
        return Trouble(told["count"], told["since"], told["reason"], tuple(told["jobs"]))

    def forget(self, worker: str) -> None:
        """A worker begins anew. Raises redis.RedisError."""
        self._redis.hdel(self._troubles, worker)

    def try_once(self, worker: str) -> None:
        """The next failure counts as the last one in the row. Raises redis.RedisError."""
        before = self.trouble(worker)
        self._write(worker, Trouble(IN_A_ROW - 1, before.since, before.reason, before.jobs))

    def others_manage(self, worker: str, trouble: Trouble) -> bool:
        """Whether another worker finished a shard of one of these jobs meanwhile. Raises redis.RedisError."""
        for job in trouble.jobs:
            done = self._redis.hgetall(self._of_job + job)
            if any(int(at) >= trouble.since for name, at in done.items() if name != worker):
                return True
        return False

    def _write(self, worker: str, trouble: Trouble) -> None:
        about = {"count": trouble.count, "since": trouble.since, "reason": trouble.reason, "jobs": trouble.jobs}
        self._redis.hset(self._troubles, worker, json.dumps(about))
        self._redis.expire(self._troubles, _KEEP_SECONDS)


class Fitness:
    """One worker's own judgement of itself, in its consume loop.

    reason: why it has taken itself out; empty while it takes messages.
    """

    def __init__(self, reports: Reports, worker: str, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that never go back."""
        self._reports, self._worker, self._clock = reports, worker, clock
        self.reason = ""
        self._pause = FIRST_PAUSE_SECONDS
        self._until = 0.0
        self._is_known = False

    def look(self, other_is_ready: bool) -> Change | None:
        """Say what is to change now. other_is_ready: somebody else takes messages. Raises redis.RedisError."""
        if not self._is_known:  # what stands there is of an earlier process with this number
            self._reports.forget(self._worker)
            self._is_known = True
        if self.reason:
            return self._return(other_is_ready)
        trouble = self._reports.trouble(self._worker)
        if not trouble.count:
            self._pause = FIRST_PAUSE_SECONDS
        if trouble.count < IN_A_ROW or not other_is_ready or not self._reports.others_manage(self._worker, trouble):
            return None
        self.reason = trouble.reason
        self._until = self._clock() + self._pause
        log.error(
            "this worker takes itself out: %d attempts in a row failed here and not elsewhere, the last one over: %s; "
            "it tries again in %.0f s", trouble.count, trouble.reason, self._pause,
        )  # fmt: skip
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return "leave"

    def _return(self, other_is_ready: bool) -> Change | None:
        if other_is_ready and self._clock() < self._until:
            return None
        self._reports.try_once(self._worker)
        log.warning("this worker takes messages again: %s", "to try" if other_is_ready else "nobody else does")
        self.reason = ""
        return "return"
