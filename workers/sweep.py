"""What a dead or frozen worker had, found by any living one and given out again.

Every worker's consume loop sweeps once a second, one of them at a time. It looks for four things: leases that ran out,
leases of processes on this machine that are dead, shards whose pause is over, and shards that wait although no message
of theirs is in a queue: a worker took it and was killed, or frozen, before it began. To publish once too often is
harmless, the lease sees to that; too seldom would be a job that stands still.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from base64 import b64decode
from typing import TYPE_CHECKING

from workers.jobs import attempt_is_dead
from workers.publish import publish
from workers.queues import WAITING, queue_for_again, queues_of
from workers.roll import STALE_SECONDS, Roll
from workers.store import JobStore, later_key, running_key, waiting_key

if TYPE_CHECKING:
    from celery import Celery

    from workers.depth import Depth

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
UNSEEN_SECONDS = 2.0  # a shard that waits for so long must have a message in a queue
_LOOK_ANYWAY_SECONDS = 30.0  # although there are as many messages as waiting shards: some may be there twice
_UNCOUNTED_SECONDS = 5.0  # the same where messages are only counted: workers tell once a second what they have
_MOST_AGAIN = 1000  # published again at a time
_MOST_MESSAGES = 20_000  # to look through without a reason
_CHUNK = 500


class Sweeper:
    """Gives out again what nobody works on.

    lists: the broker's own connection where it is Redis or Valkey, whose queues are lists one can look into.
    depth: counts messages where it is RabbitMQ, which lets nobody look into its queues. It gives back by itself what a
    connection that ended had; what was never published (its feeder was killed in between) is missing in the count.
    """

    def __init__(
        self, app: Celery, store: JobStore, queue: str, lists: JobStore | None, depth: Depth | None = None
    ) -> None:
        self._app, self._store, self._queue, self._lists, self._depth = app, store, queue, lists, depth
        self._live = 0  # shards at work when last looked at
        self._token = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._short_since: float | None = None
        self._looked = time.monotonic()

    def sweep(self) -> int:
        """Look once; give how many shards were published again. Raises redis.RedisError or BrokerError."""
        lock = f"pixelmill-service:{self._queue}:sweeping"
        if not self._store.redis.set(lock, self._token, nx=True, px=int(SWEEP_SECONDS * 900)):
            return 0
        again = [*self._dead(), *self._due(), *self._unseen(), *self._uncounted()]
        for message in again:
            # without patience: the loop that sweeps takes no message meanwhile, and the next sweep is in a second
            publish(self._app, queue_for_again(self._queue, message), message, patience=0)
        if again:
            log.warning("%d shards are given out again: nobody worked on them", len(again))
        return len(again)

    def _dead(self) -> list[str]:
        messages = []
        self._live = 0
        for job in self._store.running(self._queue):
            progress = self._store.progress(job)
            self._live += len(progress.live)
            if progress.state != "running":  # whoever ended it was killed before it could take it off the list
                self._store.leave_service(job)
                self._store.redis.srem(running_key(self._queue), job)
                continue
            # a dead pool process that its parent has not reaped is left to it: it knows the cause
            live = progress.live.items()
            dead = {shard: token for shard, token in live if attempt_is_dead(token, unreaped=False)}
            taken = [self._store.take_back(job, shard, token) for shard, token in dead.items()]
            taken += [self._store.take_back(job, shard) for shard in self._store.expired(job)] if progress.live else []
            messages += [message for message in taken if message is not None]
        return messages

    def _due(self) -> list[str]:
        return self._let_wait(self._store.due(self._queue))

    def _unseen(self) -> list[str]:
        if self._lists is None:
            return []
        queues = queues_of(self._queue)
        pipe = self._lists.redis.pipeline()
        for name in queues:
            pipe.llen(name)
        queued = sum(pipe.execute())
        now = time.monotonic()
        if self._waiting() <= queued:
            self._short_since = None
            if now - self._looked < _LOOK_ANYWAY_SECONDS or queued > _MOST_MESSAGES:
                return []
        else:
            self._short_since = self._short_since or now
            if now - self._short_since < UNSEEN_SECONDS:
                return []
        self._looked, self._short_since = now, None
        return self._let_wait(self._old_ones() - self._queued_ones(queues))

    def _uncounted(self) -> list[str]:
        """Where RabbitMQ has fewer messages than shards wait, any of these may be the one without."""
        if self._depth is None:
            return []
        waiting = self._waiting()
        if not waiting:
            self._short_since = None
            return []
        workers = [one for one in Roll(self._store, self._queue).workers() if one.silent < STALE_SECONDS]
        on_their_way = sum(one.busy + one.held for one in workers) - self._live
        now = time.monotonic()
        if waiting <= self._depth.ready() + max(0, on_their_way):
            self._short_since = None
            return []
        self._short_since = self._short_since or now
        if now - self._short_since < _UNCOUNTED_SECONDS:
            return []
        self._short_since = None
        return self._let_wait(sorted(self._old_ones(_UNCOUNTED_SECONDS))[:_MOST_AGAIN])

    def _waiting(self) -> int:
        """How many shards wait, whoever can do them."""
        return sum(self._store.waiting(self._queue, WAITING).values())

    def _old_ones(self, seconds: float = UNSEEN_SECONDS) -> set[str]:
        """Shards that have waited long enough to be in a queue."""
        found: set[str] = set()
        for name in WAITING:
            key = waiting_key(self._queue, name)
            found.update(self._store.redis.zrangebyscore(key, "-inf", self._now() - seconds))
        return found

    def _queued_ones(self, queues: tuple[str, ...]) -> set[str]:
        assert self._lists is not None  # noqa: S101 - the caller has looked
        found: set[str] = set()
        for name in queues:
            start = 0
            # taken from the right, put in at the left: what moves meanwhile is seen twice rather than not at all
            while entries := self._lists.redis.lrange(name, -start - _CHUNK, -start - 1):
                found.update(filter(None, map(_shard_of, entries)))
                start += _CHUNK
        return found

    def _let_wait(self, members: set[str] | list[str]) -> list[str]:
        messages = []
        for member in sorted(members):
            job, _, shard = member.partition(" ")
            message = self._store.wait(job, shard)
            if message is not None:
                messages.append(message)
            elif not self._store.redis.exists(self._store._keys(job)[0]):  # its job is forgotten
                self._forget(member)
        return messages

    def _forget(self, member: str) -> None:
        for key in (later_key(self._queue), *(waiting_key(self._queue, name) for name in WAITING)):
            self._store.redis.zrem(key, member)

    def _now(self) -> float:
        seconds, micros = self._store.redis.time()
        return float(seconds + micros / 1e6)


def _shard_of(entry: str) -> str | None:
    """The `job shard` of a message in a queue, as Celery writes it; None if it is none of ours."""
    try:
        payload = json.loads(b64decode(json.loads(entry)["body"]))[0][0]
        key = f"{payload['number']:08d}" if "number" in payload else payload["key"]
        return f"{payload['spec']['job']} {key}"
    except (ValueError, KeyError, TypeError, IndexError):
        return None
