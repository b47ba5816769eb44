"""One picture that somebody waits for: asked over the queue, answered through the store, no job and no output folder.

The message carries a reference: a path workers see, or the checksum of bytes that lie in the store for a moment. It
goes to the queue of high priority, and counts as a waiting shard of that priority, so that workers put what is less
urgent back between two images.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from pydantic import Field, model_validator

from workers.errors import BrokerError, JobError, SourceError, WaitTimeoutError
from workers.jobs import JobSpec, RelativeName, _Message
from workers.journal import Line
from workers.publish import PATIENCE_SECONDS, send
from workers.queues import queue_of
from workers.store import KEEP_SECONDS, JobStore, waiting_key

if TYPE_CHECKING:
    from celery import Celery

TASK_PICTURE = "pixelmill.picture"
LARGEST_UPLOAD = 32 * 2**20  # bytes; more is better given as a path
MOST_ATTEMPTS = 3  # a picture that ended so many processes is given up

_SLICE_SECONDS = 0.5  # of one question for the answer
_KEPT_SECONDS = 60  # an answer nobody fetched


class Picture(_Message):
    """A picture to be taken through a pipeline. path: absolute; upload: sha256 of its bytes in the store; one of both.

    spec: pipeline, model and parameters; its id names this question, its folders mean nothing.
    """

    spec: JobSpec
    name: RelativeName
    path: RelativeName | None = None
    upload: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_of_both(self) -> Picture:
        if (self.path is None) == (self.upload is None):
            raise ValueError("a picture has either a path or an upload")
        return self


def ask(
    app: Celery, store: JobStore, queue: str, spec: JobSpec, image: str | Path | bytes, timeout: float,
    wanted: Callable[[], bool],
) -> Line:  # fmt: skip
    """Send a picture and wait for its result, a line as in `results.jsonl`.

    timeout: seconds. wanted: asked twice a second whether the result still is.
    Raises WaitTimeoutError when that is over, SourceError for bytes above 32 MiB, JobError if the worker can't run the
    pipeline, BrokerError if the broker is away.
    """
    message, waiting = _message(spec, image), waiting_key(queue, "high")
    try:
        if isinstance(image, bytes):
            store.redis.set(upload_key(queue, spec), image, ex=int(timeout) + _KEPT_SECONDS)
        store.redis.zadd(waiting, {waiting_member(spec): time.time()})
        store.redis.expire(waiting, KEEP_SECONDS)
        to = queue_of(queue, spec.pipeline, "high")
        send(app, to, TASK_PICTURE, message.model_dump(mode="json"), min(timeout, PATIENCE_SECONDS), expires=timeout)
    except redis.RedisError as error:
        raise BrokerError(f"the store went away while a picture was sent ({error})") from error
    try:
        return _answer(store, queue, spec, message.name, timeout, wanted)
    except WaitTimeoutError:  # nobody waits any more; what can't be said now expires
        with suppress(redis.RedisError):
            pipe = store.redis.pipeline()
            pipe.zrem(waiting, waiting_member(spec))
            pipe.delete(upload_key(queue, spec))
            pipe.execute()
        raise


def waiting_member(spec: JobSpec) -> str:
    """How a picture stands among the waiting shards."""
    return f"{spec.job} picture"


def reply_key(queue: str, spec: JobSpec) -> str:
    """Where the answer is put."""
    return f"pixelmill-service:{queue}:reply:{spec.job}"


def upload_key(queue: str, spec: JobSpec) -> str:
    """Where a picture's bytes are."""
    return f"pixelmill-service:{queue}:upload:{spec.job}"


def reply(store: JobStore, queue: str, spec: JobSpec, answer: dict[str, Any]) -> None:
    """Answer a question: {"line": …} or {"error": text}."""
    key = reply_key(queue, spec)
    pipe = store.redis.pipeline()
    pipe.rpush(key, json.dumps(answer))
    pipe.expire(key, _KEPT_SECONDS)
    pipe.delete(upload_key(queue, spec))
    pipe.execute()


def _message(spec: JobSpec, image: str | Path | bytes) -> Picture:
    if not isinstance(image, bytes):
        path = os.path.abspath(os.path.expanduser(image))  # noqa: PTH100, PTH111 - must not raise for ~name.jpg
        return Picture(spec=spec, name=Path(path).name, path=path)
    if len(image) > LARGEST_UPLOAD:
        raise SourceError(f"a picture of {len(image):,} bytes is larger than {LARGEST_UPLOAD:,}: give its path")
    sha256 = hashlib.sha256(image).hexdigest()
    return Picture(spec=spec, name=sha256, upload=sha256)


def _answer(store: JobStore, queue: str, spec: JobSpec, name: str, timeout: float, wanted: Callable[[], bool]) -> Line:
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0 and wanted():
        try:
            found = store.redis.blpop([reply_key(queue, spec)], timeout=min(_SLICE_SECONDS, max(left, 0.01)))
        except redis.RedisError:  # started again, perhaps; its append-only file keeps question and answer
            time.sleep(min(0.1, left))
            continue
        if found is not None:
            answer: dict[str, Any] = json.loads(found[1])
            if "error" in answer:
                raise JobError(str(answer["error"]))
            line: Line = answer["line"]
            return line
    raise WaitTimeoutError(
        f"no answer for {name} within {timeout:g} s: `pixelmill status` tells whether a worker is free"
    )
