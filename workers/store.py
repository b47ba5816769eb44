"""The state of running jobs in Redis or Valkey: which shards are open, who works on them, how far they are.

A shard is *open* from its submission to its end. A worker that begins it gets a lease, named by its attempt token, and
renews it while it works. A lease that runs out may be taken back by anyone and the shard's message published again;
from then on the old token is worth nothing: its renewals and its end are refused (the fence). Delivering a message
twice therefore changes nothing. The scripts (`workers.scripts`) run inside the server, so each step is one.

A shard that is open and not in work *waits*, by the priority of its job, or is put off until a *later* time. What waits
is counted here and not in the broker, so that every broker tells the same: depth, age, whether somebody more urgent is
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from workers import scripts
from workers.errors import BrokerError
from workers.queues import PRIORITIES, Priority, above, is_rabbitmq
from workers.seam import KEEP_SECONDS, Beat, Progress, State, Store
from workers.settings import settings, without_password

__all__ = ["KEEP_SECONDS", "Beat", "JobStore", "Progress", "State", "later_key", "running_key", "waiting_key"]


class JobStore(Store):
    """The state of jobs in one Redis or Valkey server."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        """Take the server's URL; nothing is sent yet. `redis+socket:///path` is understood too, as Celery writes it.

        timeout: seconds to wait for an answer.
        """
        self.url = url
        plain = url.replace("redis+socket://", "unix://", 1).replace("valkey://", "redis://", 1)
        try:
            self.redis: Any = redis.Redis.from_url(
                plain,
                decode_responses=True,
                encoding_errors="backslashreplace",  # a reason may name a folder whose name is no UTF-8
                socket_connect_timeout=3,
                socket_timeout=timeout,
                health_check_interval=15,
                max_connections=2**31,  # as many as threads wait; the library's hundred are fewer than a gateway's
                # a lost connection is made again; who waits for an answer in vain is not to wait three times
                retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), 2, supported_errors=(redis.ConnectionError,)),
            )
        except ValueError as error:
            if is_rabbitmq(url):
                raise BrokerError(
                    f"{without_password(url)} is RabbitMQ, which keeps messages but no state: set PIXELMILL_STORE to a "
                    "Redis or Valkey server, e.g. redis://localhost:6379/0"
                ) from error
            raise BrokerError(f"store URL {without_password(url)!r} is not understood: {error}") from error
        self._open = self.redis.register_script(scripts.OPEN)
        self._begin = self.redis.register_script(scripts.BEGIN)
        self._beat = self.redis.register_script(scripts.BEAT)
        self._finish = self.redis.register_script(scripts.FINISH)
        self._take_back = self.redis.register_script(scripts.TAKE_BACK)
        self._note_death = self.redis.register_script(scripts.NOTE_DEATH)
        self._wait = self.redis.register_script(scripts.WAIT)
        self._count = self.redis.register_script(scripts.COUNT)
        self._end = self.redis.register_script(scripts.END)

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

    def create(self, job: str, *, queue: str | None = None, priority: Priority = "normal") -> None:
        """Make a job known as running.

        queue: of the service; default: the one in the settings.
        """
        queue = queue or settings().queue
        key = self._keys(job)[0]
        head = {"state": "running", "ok": 0, "queue": queue, "priority": priority}
        pipe = self.redis.pipeline()
        pipe.hset(key, mapping=head)
        pipe.expire(key, KEEP_SECONDS)
        pipe.sadd(running_key(queue), job)
        pipe.expire(running_key(queue), KEEP_SECONDS)
        pipe.execute()

    def open(self, job: str, shard: str, message: str) -> None:
        """Keep a shard's message until the shard has ended, so that it can be published again; it waits from now on."""
        self._open(keys=self._keys(job), args=[shard, message, KEEP_SECONDS])

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

    def take_back(self, job: str, shard: str, attempt: str = "", pause: float = 0.0) -> str | None:
        """End a lease that ran out, or the named attempt's whatever its lease says; the shard waits again.

        pause: seconds before it may run again; then `due` gives it, and nobody publishes it now.
        Returns the shard's message, to be published again; None if there was nothing to take back.
        """
        message: str | None = self._take_back(keys=self._keys(job), args=[shard, attempt, pause])
        return message

    def wait(self, job: str, shard: str) -> str | None:
        """Let an open shard that nobody holds wait from now on.

        Returns its message, to be published (again); None if it is held, done, or its job has ended.
        """
        message: str | None = self._wait(keys=self._keys(job), args=[shard])
        return message

    def note_death(self, job: str, shard: str, attempt: str, cause: str) -> None:
        """Remember what ended an attempt's process, as its parent saw it, e.g. "killed by signal 11 (SIGSEGV)"."""
        self._note_death(keys=self._keys(job), args=[shard, attempt, cause])

    def deaths(self, job: str, shard: str) -> dict[str, str]:
        """What ended earlier attempts at a shard: attempt → cause, for those whose parent saw it."""
        found: dict[str, str] = json.loads(self.redis.hget(self._keys(job)[6], shard) or "{}")
        return found

    def holder(self, job: str, shard: str) -> str | None:
        """The attempt that is at work on a shard."""
        entry = self.redis.hget(self._keys(job)[2], shard)
        return str(json.loads(entry)["attempt"]) if entry else None

    def running(self, queue: str) -> list[str]:
        """The jobs of a service that have not ended."""
        return sorted(self.redis.smembers(running_key(queue)))

    def waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, int]:
        """How many shards wait, by priority. names: of `workers.queues.WAITING`; those for torch have names apart."""
        pipe = self.redis.pipeline()
        for priority in names:
            pipe.zcard(waiting_key(queue, priority))
        return dict(zip(names, pipe.execute(), strict=True))

    def oldest_waiting(self, queue: str, names: Sequence[str] = PRIORITIES) -> dict[str, float]:
        """For how many seconds the oldest waiting shard has waited, by priority; without those where none waits."""
        pipe = self.redis.pipeline()
        pipe.time()
        for priority in names:
            pipe.zrange(waiting_key(queue, priority), 0, 0, withscores=True)
        (seconds, micros), *rows = pipe.execute()
        now = seconds + micros / 1e6
        return {p: max(0.0, now - row[0][1]) for p, row in zip(names, rows, strict=True) if row}

    def waited(self, queue: str, priority: str, member: str) -> float | None:
        """For how many seconds a `job shard` has waited; None if it does not."""
        pipe = self.redis.pipeline()
        pipe.time()
        pipe.zscore(waiting_key(queue, priority), member)
        (seconds, micros), since = pipe.execute()
        return None if since is None else max(0.0, float(seconds + micros / 1e6 - since))

    def count_finished(self, queue: str, images: int) -> None:
        """Count images that were finished outside of a job."""
        self._count(keys=[finished_key(queue)], args=[images])

    def finished_by_minute(self, queue: str) -> list[int]:
        """Images finished in each of the last sixty minutes, the current one last."""
        pipe = self.redis.pipeline()
        pipe.time()
        pipe.hgetall(finished_key(queue))
        (seconds, _), found = pipe.execute()
        return [int(found.get(str(minute), 0)) for minute in range(seconds // 60 - 59, seconds // 60 + 1)]

    def due(self, queue: str) -> list[str]:
        """The `job shard` of those whose pause is over; they stay until `wait` lets them wait."""
        seconds, micros = self.redis.time()
        found: list[str] = self.redis.zrangebyscore(later_key(queue), "-inf", seconds + micros / 1e6)
        return found

    def more_urgent(self, queue: str, priority: Priority) -> bool:
        """Whether a shard waits that goes before those of this priority."""
        keys = [waiting_key(queue, other) for other in above(priority)]
        return bool(keys) and bool(self.redis.exists(*keys))

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
        """End a running job; one that has ended stays as it ended."""
        self._end(keys=self._keys(job)[:1], args=[state, "" if reason is None else reason, int(reason is not None)])
        self.leave_service(job)

    def hold_up(self, job: str, reason: str) -> float:
        """Note what keeps a job from going on; gives for how many seconds it has been kept."""
        key = self._keys(job)[0]
        seconds, micros = self.redis.time()
        now = seconds + micros / 1e6
        pipe = self.redis.pipeline()
        pipe.hset(key, "held_up", reason)
        pipe.hsetnx(key, "held_up_since", now)
        pipe.hget(key, "held_up_since")
        return float(now - float(pipe.execute()[-1]))

    def note_provider(self, job: str, provider: str) -> None:
        """Remember which execution provider really serves a job."""
        self.redis.hset(self._keys(job)[0], "provider", provider)

    def forget(self, job: str) -> None:
        """Delete a job's state."""
        self.leave_service(job)
        self.redis.delete(*self._keys(job))

    def leave_service(self, job: str) -> None:
        """Nothing of this job waits any more, and nobody needs to look after it."""
        keys = self._keys(job)
        queue, priority = self.redis.hmget(keys[0], "queue", "priority")
        if queue is None:
            return
        members = [f"{job} {shard}" for shard in self.redis.hkeys(keys[1])]
        pipe = self.redis.pipeline()
        pipe.srem(running_key(queue), job)
        if members:
            pipe.zrem(waiting_key(queue, priority), *members)
            pipe.zrem(later_key(queue), *members)
        pipe.execute()

    @staticmethod
    def _keys(job: str) -> list[str]:
        head = f"pixelmill:{{{job}}}"
        return [head, *(f"{head}:{part}" for part in ("open", "live", "leases", "attempts", "failed", "deaths"))]


def running_key(queue: str) -> str:
    """Set of the jobs that have not ended."""
    return f"pixelmill-service:{queue}:running"


def waiting_key(queue: str, priority: str) -> str:
    """Sorted set of `job shard` by the time since when each waits."""
    return f"pixelmill-service:{queue}:waiting:{priority}"


def later_key(queue: str) -> str:
    """Sorted set of `job shard` by the time from which each may run again."""
    return f"pixelmill-service:{queue}:later"


def finished_key(queue: str) -> str:
    """Hash of the images finished, by minute since 1970; an hour of them."""
    return f"pixelmill-service:{queue}:finished"
