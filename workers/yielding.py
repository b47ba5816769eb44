"""Whether an attempt puts the rest of its shard back: for somebody more urgent, or when its time is nearly up."""

from __future__ import annotations

import time

import redis

from workers.queues import Priority
from workers.seam import Store

_LOOK_SECONDS = 0.02  # least time between two looks into the store: small models take an image in a millisecond
_NEARLY = 0.8  # of the hard limit of a shard; the process is killed at the whole of it


class Urgency:
    """Asked between two images; cheap enough for that (0.1 ms, at most every 20 ms)."""

    def __init__(self, store: Store, queue: str, priority: Priority, shard_seconds: float) -> None:
        self._store, self._queue, self._priority = store, queue, priority
        self._until = time.monotonic() + _NEARLY * shard_seconds
        self._looked = 0.0

    def __call__(self) -> bool:
        """Whether to begin no further image."""
        now = time.monotonic()
        if now > self._until:
            return True
        if self._priority == "high" or now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        try:
            return self._store.more_urgent(self._queue, self._priority)
        except redis.RedisError:  # the store is away for a moment: nobody can be waiting that it knows of
            return False
