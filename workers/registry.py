"""The jobs a service knows: what each was asked for, how far it is fed, and which names mean it.

`store` keeps who works on what; this keeps what there is to do. A job's head lies in the same hash as its state, so
both expire together. Times are the server's, because clients and workers may disagree about the hour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from workers import scripts
from workers.errors import BrokerError
from workers.jobs import JobSpec
from workers.outbox import add_to_outbox
from workers.queues import waits_as
from workers.settings import settings
from workers.store import KEEP_SECONDS, JobStore

Owner: TypeAlias = Literal["run", "client"]

_INDEX = "pixelmill:jobs"  # every job, by the time it was submitted

# shard, message, seconds to keep (those of OPEN); number of the shard, byte behind its line in the manifest,
# most shards that may be open (0: any number)
_ADVANCE = (
    """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
if redis.call('HGET', KEYS[1], 'fed') ~= ARGV[4] then return 0 end
local most = tonumber(ARGV[6])
if most > 0 and redis.call('HLEN', KEYS[2]) >= most then return 0 end
redis.call('HSET', KEYS[1], 'fed', string.format('%d', ARGV[4] + 1), 'offset', ARGV[5])
"""
    + scripts.OPEN
    + "return 1\n"
)
_CLAIM = """
local before = redis.call('GET', KEYS[1])
if before and before ~= ARGV[2] then return before end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return ARGV[1]
"""


@dataclass(frozen=True, slots=True)
class Head:
    """What a job is, and how far it is fed.

    source: the input as its user wrote it. owner: who submitted it; a job of `run` ends with its client.
    created, beat: server time in seconds; beat is the last sign of life of the client that lists its images.
    images: to be computed; kept: finished by an earlier job; both grow until the list is complete.
    shards: in the whole list, None until it is complete. fed: shards submitted; offset: where the next line begins.
    trouble: what keeps the job from going on at the moment. deadline: server time by which it must be over.
    webhook: URL that is told when it has ended.
    """

    spec: JobSpec
    source: str
    owner: Owner
    created: float
    beat: float
    images: int
    kept: int
    shards: int | None
    fed: int
    offset: int
    key: str = ""
    ended: float | None = None
    trouble: str | None = None
    deadline: float | None = None
    webhook: str = ""

    @property
    def is_fed(self) -> bool:
        """Whether every shard has been submitted."""
        return self.shards is not None and self.fed >= self.shards


class Registry:
    """The heads of jobs in one Redis or Valkey server."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self._redis = store.redis
        self._advance = self._redis.register_script(_ADVANCE)
        self._claim = self._redis.register_script(_CLAIM)

    def now(self) -> float:
        """The server's time in seconds."""
        seconds, micros = self._redis.time()
        return float(seconds + micros / 1e6)

    def create(
        self, spec: JobSpec, source: str, owner: Owner, key: str = "", seconds: float | None = None, webhook: str = ""
    ) -> None:
        """Make a job known as running; its images are still being listed. seconds: until its deadline."""
        now = self.now()
        head = self._head(spec.job)
        values = {
            "spec": json.dumps(spec.model_dump(mode="json")), "source": _printable(source), "owner": owner,
            "created": now, "beat": now, "images": 0, "kept": 0, "fed": 0, "offset": 0, "key": key,
            "priority": waits_as(spec.pipeline, spec.priority),
        }  # fmt: skip
        self.store.create(spec.job, priority=spec.priority)
        pipe = self._redis.pipeline()
        if seconds is not None:
            values["deadline"] = now + seconds
        if webhook:
            values["webhook"] = webhook
            add_to_outbox(pipe, settings().queue, spec.job, now)
        pipe.hset(head, mapping=values)
        pipe.expire(head, KEEP_SECONDS)
        pipe.zadd(_INDEX, {spec.job: now})
        pipe.zremrangebyscore(_INDEX, "-inf", now - KEEP_SECONDS)
        pipe.expire(_INDEX, KEEP_SECONDS)
        pipe.execute()

    def claim(self, key: str, job: str, replacing: str = "") -> str:
        """Let a key mean this job unless it means another one already; give the job it means.

        replacing: the job it may mean now, which nobody wants again.
        """
        name = f"pixelmill:key:{key}"
        return str(self._claim(keys=[name], args=[job, replacing, KEEP_SECONDS]))

    def meaning(self, key: str) -> str | None:
        """The job a key means."""
        found: str | None = self._redis.get(f"pixelmill:key:{key}")
        return found

    def listing(self, job: str, images: int, kept: int, shards: int | None = None) -> None:
        """Tell how far the list is. shards: how many it has, once it is complete."""
        values: dict[str, Any] = {"images": images, "kept": kept, "beat": self.now()}
        if shards is not None:
            values["shards"] = shards
        self._redis.hset(self._head(job), mapping=values)

    def advance(self, job: str, number: int, end: int, shard: str, message: str, most: int = 0) -> bool:
        """Open the next shard and move the cursor behind it; False if somebody else has done it, or the job ended.

        most: of its shards that may be open then, 0: any number; False too if there are as many already.
        """
        arguments = [shard, message, KEEP_SECONDS, number, end, most]
        return bool(self._advance(keys=self.store._keys(job), args=arguments))

    def head(self, job: str) -> Head | None:
        """Read a job's head; None if the service does not know the job.

        Raises BrokerError if another version wrote it.
        """
        found: Mapping[str, str] = self._redis.hgetall(self._head(job))
        if "spec" not in found:
            return None
        try:
            return Head(
                spec=JobSpec.model_validate(json.loads(found["spec"])),
                source=found["source"],
                owner="run" if found["owner"] == "run" else "client",
                created=float(found["created"]),
                beat=float(found["beat"]),
                images=int(found["images"]),
                kept=int(found["kept"]),
                shards=int(found["shards"]) if "shards" in found else None,
                fed=int(found["fed"]),
                offset=int(found["offset"]),
                key=found.get("key", ""),
                ended=float(found["ended"]) if "ended" in found else None,
                trouble=found.get("trouble") or found.get("held_up") or None,
                deadline=float(found["deadline"]) if "deadline" in found else None,
                webhook=found.get("webhook", ""),
            )
        except (ValidationError, KeyError, ValueError) as error:
            raise BrokerError(f"job {job} was written by another version of Pixelmill: {error}") from error

    def jobs(self, limit: int | None = None) -> list[str]:
        """The known jobs, the newest first."""
        found: list[str] = self._redis.zrevrange(_INDEX, 0, -1 if limit is None else limit - 1)
        return found

    def note_trouble(self, job: str, trouble: str | None) -> None:
        """Say what keeps a job from going on, or that nothing does any more."""
        self._redis.hset(self._head(job), "trouble", trouble or "")

    def forget(self, job: str) -> None:
        """Delete all there is of a job in the store."""
        self.store.forget(job)
        self._redis.zrem(_INDEX, job)

    def _head(self, job: str) -> str:
        return self.store._keys(job)[0]


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
