"""What was given up: images that kill their process, and messages that are none; kept with the cause until looked at.

An image is also a failed line in its job's results. Here somebody who runs the service finds all of them in one place,
whatever job they came from, and can send them again once the cause is gone.
"""

from __future__ import annotations

import json
import secrets
import socket
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.settings import settings
from workers.store import KEEP_SECONDS, JobStore

MOST_LETTERS = 10_000  # the oldest go first
_LONGEST_MESSAGE = 20_000  # characters kept of a message that is none


class DeadLetter(BaseModel):
    """One thing that was given up.

    kind: "image": it killed, or held up, every process that worked on it. "message": it is none of ours.
    code: of the image's failure; "invalid" for a message. cause: in words. causes: of each attempt, where known.
    at: server time in seconds. message: what to send again; for an image the shard's message with this image alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    kind: Literal["image", "message"]
    code: str
    cause: str
    at: float
    causes: tuple[str, ...] = ()
    job: str | None = None
    shard: str | None = None
    image: str | None = None
    host: str = ""
    message: str = ""


class DeadLetters:
    """The dead letters of a service."""

    def __init__(self, store: JobStore, queue: str | None = None) -> None:
        self._redis = store.redis
        queue = queue or settings().queue
        self._letters, self._order = f"pixelmill-service:{queue}:dead", f"pixelmill-service:{queue}:dead:order"

    def add(self, kind: Literal["image", "message"], code: str, cause: str, **about: Any) -> DeadLetter:
        """Put one aside; `about` as the fields of DeadLetter."""
        seconds, micros = self._redis.time()
        at = seconds + micros / 1e6
        # an image given up twice (the process died before it could end its shard) is one letter
        name = f"{about['job']} {about['image']}" if kind == "image" else ""
        identity = _digest(name) if name else secrets.token_hex(6)
        about["message"] = str(about.get("message", ""))[:_LONGEST_MESSAGE] if kind == "message" else about["message"]
        letter = DeadLetter(
            id=identity, kind=kind, code=code, cause=cause[:1000], at=at, host=socket.gethostname(), **about
        )
        pipe = self._redis.pipeline()
        pipe.hset(self._letters, letter.id, json.dumps(letter.model_dump(mode="json")))
        pipe.zadd(self._order, {letter.id: at})
        pipe.zrange(self._order, 0, -MOST_LETTERS - 1)
        for key in (self._letters, self._order):
            pipe.expire(key, 4 * KEEP_SECONDS)
        surplus = pipe.execute()[2]
        self.remove(*surplus)
        return letter

    def list(self, job: str | None = None) -> list[DeadLetter]:
        """All letters, the oldest first. job: only of this one."""
        ids = self._redis.zrange(self._order, 0, -1)
        texts = self._redis.hmget(self._letters, ids) if ids else []
        letters = [letter for text in texts if (letter := _read(text)) is not None]
        return [letter for letter in letters if job in (None, letter.job)]

    def get(self, id: str) -> DeadLetter | None:
        """One letter by its id, or by the beginning of it if no other begins so."""
        if len(id) < 12:
            near = [one for one in self._redis.hkeys(self._letters) if one.startswith(id)]
            if len(near) != 1:
                return None
            id = near[0]
        return _read(self._redis.hget(self._letters, id))

    def count(self) -> int:
        """How many there are."""
        return int(self._redis.zcard(self._order))

    def remove(self, *ids: str) -> None:
        """Take letters out."""
        if ids:
            self._redis.hdel(self._letters, *ids)
            self._redis.zrem(self._order, *ids)


def _digest(name: str) -> str:
    from hashlib import blake2b

    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _read(text: str | None) -> DeadLetter | None:
    try:
        return DeadLetter.model_validate(json.loads(text)) if text else None
    except (ValidationError, ValueError):
        return None
