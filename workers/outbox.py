"""Webhooks that are still to be sent, and how each try went; in the store, so that they outlive whoever sends them.

    pixelmill-service:<queue>:outbox             sorted set: job by the time of the next look at it
    pixelmill-service:<queue>:deliveries:<job>   list: a JSON object a try

A job with a webhook is put in when it is made, not when it ends: a job may be ended by many, some of whom die right
afterwards. Whoever takes an entry out for a look puts it back by the same step, a while later, in case they die.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workers.settings import settings

if TYPE_CHECKING:
    from workers.store import JobStore

KEEP_SECONDS = 7 * 24 * 3600
_MOST_TRIES = 50

# the outbox; seconds until somebody else may look at the entry
_CLAIM = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)
if not due[1] then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[1], due[1])
return due[1]
"""
# the outbox; job, seconds. Only if it is still there: a job may have been taken out meanwhile
_PUT_OFF = """
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', t[1] + t[2] / 1000000 + ARGV[2], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try. number: from 1; at: ISO 8601; said: the answer's status, or what went wrong; final: there is no next."""

    number: int
    at: str
    ok: bool
    said: str
    milliseconds: float
    final: bool


class Outbox:
    """The outbox of a service."""

    def __init__(self, store: JobStore, queue: str | None = None) -> None:
        self.store, self.queue = store, queue or settings().queue
        self._key = outbox_key(self.queue)
        self._claim = store.redis.register_script(_CLAIM)
        self._put_off = store.redis.register_script(_PUT_OFF)

    def claim(self, seconds: float) -> str | None:
        """Take a job whose time has come; nobody else will for some seconds."""
        job: str | None = self._claim(keys=[self._key], args=[seconds])
        return job

    def put_off(self, job: str, seconds: float) -> None:
        """Look at a job again later."""
        self._put_off(keys=[self._key], args=[job, seconds])

    def remove(self, job: str) -> None:
        """There is nothing more to tell."""
        self.store.redis.zrem(self._key, job)

    def count(self) -> int:
        """Jobs whose end is still to be told, those that run included."""
        return int(self.store.redis.zcard(self._key))

    def note(self, job: str, ok: bool, said: str, milliseconds: float, *, final: bool) -> Delivery:
        """Write a try down."""
        key = _log_key(self.queue, job)
        seconds = self.store.redis.time()[0]
        at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
        number = int(self.store.redis.llen(key)) + 1
        delivery = Delivery(number, at, ok, said[:300], round(milliseconds, 1), final)
        pipe = self.store.redis.pipeline()
        pipe.rpush(key, json.dumps(asdict(delivery)))
        pipe.ltrim(key, -_MOST_TRIES, -1)
        pipe.expire(key, KEEP_SECONDS)
        pipe.execute()
        return delivery


def add_to_outbox(pipe: Any, queue: str, job: str, now: float) -> None:
    """Put a job in, as part of what a pipeline does. now: the store's time."""
    pipe.zadd(outbox_key(queue), {job: now})
    pipe.expire(outbox_key(queue), 2 * KEEP_SECONDS)


def deliveries(store: JobStore, queue: str, job: str) -> tuple[Delivery, ...]:
    """How the tries went, the first one first."""
    return tuple(Delivery(**json.loads(text)) for text in store.redis.lrange(_log_key(queue, job), 0, -1))


def outbox_key(queue: str) -> str:
    """Where the entries are."""
    return f"pixelmill-service:{queue}:outbox"


def _log_key(queue: str, job: str) -> str:
    return f"pixelmill-service:{queue}:deliveries:{job}"
