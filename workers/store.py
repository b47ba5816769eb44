"""The state of running jobs in Redis or Valkey: which shards are open, who works on them, how far they are.

A shard is *open* from its submission to its end. A worker that begins it gets a lease, named by its attempt token, and
renews it while it works. A lease that runs out may be taken back by anyone and the shard's message published again;
from then on the old token is worth nothing: its renewals and its end are refused (the fence). Delivering a message
twice therefore changes nothing. The scripts run inside the server, so each step is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from workers.errors import BrokerError
from workers.settings import without_password

KEEP_SECONDS = 7 * 24 * 3600  # state of a job that nobody ended

State: TypeAlias = Literal["running", "closed", "failed", "cancelled"]
Beat: TypeAlias = Literal["ok", "lost", "cancelled"]

_BEGIN = """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return {'gone'} end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'done'} end
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
if lease and tonumber(lease) > now then
  return {'busy', cjson.decode(redis.call('HGET', KEYS[3], ARGV[1])).attempt}
end
redis.call('ZADD', KEYS[4], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode({attempt = ARGV[2], ok = 0, failed = 0}))
return {'begun', redis.call('HINCRBY', KEYS[5], ARGV[1], 1)}
"""
_BEAT = """
local live = redis.call('HGET', KEYS[3], ARGV[1])
if not live or cjson.decode(live).attempt ~= ARGV[2] then return 'lost' end
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 'cancelled' end
local now = redis.call('TIME')
redis.call('ZADD', KEYS[4], now[1] + now[2] / 1000000 + ARGV[3], ARGV[1])
local counts = {attempt = ARGV[2], ok = tonumber(ARGV[4]), failed = tonumber(ARGV[5])}
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode(counts))
return 'ok'
"""
_FINISH = """
local live = redis.call('HGET', KEYS[3], ARGV[1])
if not live or cjson.decode(live).attempt ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'ok', ARGV[3])
for code, count in pairs(cjson.decode(ARGV[4])) do
  redis.call('HINCRBY', KEYS[6], code, count)
end
return 1
"""
_TAKE_BACK = """
local live = redis.call('HGET', KEYS[3], ARGV[1])
if not live then return nil end
if ARGV[2] ~= '' then
  if cjson.decode(live).attempt ~= ARGV[2] then return nil end
else
  local now = redis.call('TIME')
  local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
  if lease and tonumber(lease) > now[1] + now[2] / 1000000 then return nil end
end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return redis.call('HGET', KEYS[2], ARGV[1])
"""


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


class JobStore:
    """The state of jobs in one Redis or Valkey server."""

    def __init__(self, url: str) -> None:
        """Take the server's URL; nothing is sent yet. `redis+socket:///path` is understood too, as Celery writes it."""
        self.url = url
        plain = url.replace("redis+socket://", "unix://", 1).replace("valkey://", "redis://", 1)
        try:
            self.redis: Any = redis.Redis.from_url(
                plain,
                decode_responses=True,
                socket_connect_timeout=3,
                socket_timeout=10,
                health_check_interval=15,
                retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), 2),
            )
        except ValueError as error:
            raise BrokerError(f"store URL {without_password(url)!r} is not understood: {error}") from error
        self._begin = self.redis.register_script(_BEGIN)
        self._beat = self.redis.register_script(_BEAT)
        self._finish = self.redis.register_script(_FINISH)
        self._take_back = self.redis.register_script(_TAKE_BACK)

    def ping(self) -> None:
        """Raise BrokerError if the server does not answer."""
        try:
            self.redis.ping()
        except redis.RedisError as error:
            reason = str(error).strip().rstrip(".") or type(error).__name__
            raise BrokerError(
                f"broker {without_password(self.url)} can't be reached ({reason}): start it, correct PIXELMILL_BROKER, "
                "or unset it to use the embedded one"
            ) from error

    def create(self, job: str) -> None:
        """Make a job known as running."""
        key = self._keys(job)[0]
        self.redis.hset(key, mapping={"state": "running", "ok": 0})
        self.redis.expire(key, KEEP_SECONDS)

    def open(self, job: str, shard: str, message: str) -> None:
        """Keep a shard's message until the shard has ended, so that it can be published again."""
        keys = self._keys(job)
        pipe = self.redis.pipeline()
        pipe.hset(keys[1], shard, message)
        for key in keys:
            pipe.expire(key, KEEP_SECONDS)
        pipe.execute()

    def begin(self, job: str, shard: str, attempt: str, lease_seconds: float) -> tuple[str, str]:
        """Ask for the lease of a shard.

        Returns ("begun", number of the attempt) | ("busy", token of who has it) | ("done", "") | ("gone", "").
        """
        answer = self._begin(keys=self._keys(job), args=[shard, attempt, lease_seconds])
        return str(answer[0]), str(answer[1]) if len(answer) > 1 else ""

    def beat(self, job: str, shard: str, attempt: str, lease_seconds: float, ok: int, failed: int) -> Beat:
        """Renew a lease and tell the images finished so far; "lost" if someone took the shard back."""
        answer: Beat = self._beat(keys=self._keys(job), args=[shard, attempt, lease_seconds, ok, failed])
        return answer

    def finish(self, job: str, shard: str, attempt: str, ok: int, failed_by_code: Mapping[str, int]) -> bool:
        """End a shard; False if the lease was lost (then nothing changes)."""
        args: list[str | int] = [shard, attempt, ok, json.dumps(dict(failed_by_code)) if failed_by_code else "{}"]
        return bool(self._finish(keys=self._keys(job), args=args))

    def take_back(self, job: str, shard: str, attempt: str = "") -> str | None:
        """End a lease that ran out, or the named attempt's whatever its lease says.

        Returns the shard's message, to be published again; None if there was nothing to take back.
        """
        message: str | None = self._take_back(keys=self._keys(job), args=[shard, attempt])
        return message

    def expired(self, job: str) -> list[str]:
        """Shards whose lease ran out."""
        seconds, micros = self.redis.time()
        found: list[str] = self.redis.zrangebyscore(self._keys(job)[3], "-inf", seconds + micros / 1e6)
        return found

    def messages(self, job: str) -> dict[str, str]:
        """The open shards' messages."""
        found: dict[str, str] = self.redis.hgetall(self._keys(job)[1])
        return found

    def progress(self, job: str) -> Progress:
        """Read how far a job is."""
        keys = self._keys(job)
        pipe = self.redis.pipeline()
        pipe.hgetall(keys[0])
        pipe.hlen(keys[1])
        pipe.hgetall(keys[2])
        pipe.hgetall(keys[5])
        head, open_shards, live_json, codes = pipe.execute()
        live = {shard: json.loads(text) for shard, text in live_json.items()}
        return Progress(
            state=head.get("state", "cancelled"),
            ok=int(head.get("ok", 0)),
            failed_by_code={code: int(count) for code, count in codes.items()},
            open=open_shards,
            live={shard: entry["attempt"] for shard, entry in live.items()},
            reason=head.get("reason"),
            provider=head.get("provider"),
            partly=sum(entry["ok"] + entry["failed"] for entry in live.values()),
        )

    def end(self, job: str, state: State, reason: str | None = None) -> None:
        """Set a job's last state; the first reason stays."""
        key = self._keys(job)[0]
        if reason is not None:
            self.redis.hsetnx(key, "reason", reason)
        self.redis.hset(key, "state", state)

    def note_provider(self, job: str, provider: str) -> None:
        """Remember which execution provider really serves a job."""
        self.redis.hset(self._keys(job)[0], "provider", provider)

    def forget(self, job: str) -> None:
        """Delete a job's state."""
        self.redis.delete(*self._keys(job))

    @staticmethod
    def _keys(job: str) -> list[str]:
        # the braces keep a job's keys on one node of a cluster, as its scripts need
        head = f"pixelmill:{{{job}}}"
        return [head, *(f"{head}:{part}" for part in ("open", "live", "leases", "attempts", "failed"))]
