"""The lease of a shard: taken before work starts, renewed by a heart-beat, lost when someone takes the shard back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import redis

from workers.jobs import attempt_is_dead
from workers.journal import Line
from workers.seam import Beat, Store

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.25  # also how soon a cancelled job stops


class Tally:
    """Images finished in this shard so far; counted by many threads."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed_by_code: dict[str, int] = {}
        self._lock = Lock()

    def add(self, line: Line) -> None:
        """Count one result."""
        with self._lock:
            if line["status"] == "ok":
                self.ok += 1
            else:
                code = line["error"]["code"]
                self.failed_by_code[code] = self.failed_by_code.get(code, 0) + 1

    @property
    def failed(self) -> int:
        """Images that gave an error."""
        with self._lock:
            return sum(self.failed_by_code.values())


def take_lease(store: Store, job: str, shard: str, attempt: str, lease_seconds: float) -> int:
    """Take the lease of a shard.

    Returns the number of this attempt, from 1; 0 if the shard is done, its job has ended, or someone living has it.
    """
    outcome, holder = store.begin(job, shard, attempt, lease_seconds)
    if outcome == "busy" and attempt_is_dead(holder):
        # the pool process that had it was killed; the broker brought the message back before the lease ran out
        store.take_back(job, shard, holder)
        outcome, holder = store.begin(job, shard, attempt, lease_seconds)
    if outcome != "begun":
        log.info("shard %s of job %s needs no attempt: %s %s", shard, job, outcome, holder)
        return 0
    return int(holder)


@contextmanager
def heart_beat(
    store: Store, job: str, shard: str, attempt: str, lease_seconds: float, tally: Tally, stop: Event
) -> Iterator[list[Beat]]:
    """Renew the lease until the block ends; set `stop` when it is lost or the job has ended.

    Gives a list that will hold why it stopped: "lost" or "cancelled".
    """
    ended = Event()
    why: list[Beat] = []

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                answer = store.beat(job, shard, attempt, lease_seconds, tally.ok, tally.failed)
            except redis.RedisError as error:
                # the store is away for a moment: go on, results are on disk; the fence decides in the end
                log.warning("no heart-beat for shard %s of job %s: %s", shard, job, error)
                continue
            if answer != "ok":
                why.append(answer)
                stop.set()
                return

    thread = Thread(target=beat, name="heart-beat", daemon=True)
    thread.start()
    try:
        yield why
    finally:
        ended.set()
        thread.join()
