"""The messages of a service as Celery writes them, and what a seed makes of one."""

from __future__ import annotations

import base64
import copy
import json
import random
from typing import Any

from celery import Celery

from workers.jobs import Close, JobSpec, Shard
from workers.picture import TASK_PICTURE, Picture
from workers.publish import publish
from workers.store import JobStore

TASKS = ("pixelmill.shard", "pixelmill.close", TASK_PICTURE)

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 10**30, -(10**400), float("nan"), float("inf"), "", "a", "\0",
    "\ud800", "../../etc/passwd", "/",
    "a" * 5000, "é" * 300, "null", "json", "0", [], {}, [None], [[]], {"": {}}, [1] * 300,
    {"a": [{"b": [{"c": [{"d": [1]}]}]}]}, "pixelmill.shard", "2099-01-01T00:00:00", "application/x-python-serialize",
    {"task": "os.system", "args": ["true"]}, [{"task": "pixelmill.close", "args": [{}], "kwargs": {}}],
)  # fmt: skip


def real_entries(app: Celery, store: JobStore, spec: JobSpec, images: tuple[str, ...]) -> list[bytes]:
    """What lies in a queue after a shard, a closing and a picture were sent to it by our own code."""
    queue = f"capture-{random.randrange(2**60)}"
    messages = {
        "pixelmill.shard": Shard(spec=spec, number=0, images=images),
        "pixelmill.close": Close(spec=spec, summary={"started": 1.5, "images": 2, "pipeline": "classify"}),
        TASK_PICTURE: Picture(spec=spec, name=images[0], path=f"{spec.root}/{images[0]}"),
    }
    for task, message in messages.items():
        publish(app, queue, json.dumps({"task": task, "payload": message.model_dump(mode="json")}))
    entries: list[bytes] = [_encoded(entry) for entry in store.redis.lrange(queue, 0, -1)]
    store.redis.delete(queue)
    assert len(entries) == len(TASKS)
    return entries


def _encoded(entry: bytes | str) -> bytes:
    return entry if isinstance(entry, bytes) else entry.encode()


def mutated(entries: list[bytes], seed: int) -> bytes:
    """A queue's entry that was one of these: some of its values changed, or of its body's, or of its bytes."""
    rng = random.Random(seed)
    entry = rng.choice(entries)
    how = rng.randrange(8)
    if how == 0:
        return _bytes_changed(rng, entry)
    message = json.loads(entry)
    if how == 1:
        body = _bytes_changed(rng, base64.b64decode(message["body"]))
    elif how == 2:
        message = changed(rng, message)
        return json.dumps(message).encode()
    elif how == 3:
        message["headers"] = changed(rng, message["headers"])
        body = base64.b64decode(message["body"])
    else:
        body = json.dumps(changed(rng, json.loads(base64.b64decode(message["body"])))).encode()
    message["body"] = base64.b64encode(body).decode()
    return json.dumps(message).encode()


def payload_of(entry: bytes) -> tuple[str, Any]:
    """The task and the payload of a real message."""
    message = json.loads(entry)
    return message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0][0]


def changed(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value with a few of its parts replaced, taken out, doubled, renamed or put elsewhere."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder, key = rng.choice(list(_parts(root)))
        how = rng.randrange(6)
        if how == 0 and holder is not root:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[rng.choice(("", "surprise", "\ud800", "a" * 300, "spec", "task"))] = rng.choice(_VALUES)
        elif how == 2 and isinstance(holder, dict):
            holder[key + rng.choice(("_", " ", "\0"))] = holder.pop(key)
        elif how == 3:
            other, there = rng.choice(list(_parts(root)))
            holder[key] = copy.deepcopy(other[there])
        elif how == 4 and isinstance(holder[key], list):
            holder[key] = holder[key] * rng.choice((2, 300))
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return root[0]


def _parts(holder: Any) -> Any:
    """Every (container, key) in a JSON value."""
    items = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
    for key, value in items:
        yield holder, key
        if isinstance(value, dict | list):
            yield from _parts(value)


def _bytes_changed(rng: random.Random, data: bytes) -> bytes:
    text = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 20))):
        at = rng.randrange(len(text) + 1)
        how = rng.randrange(5)
        if how == 0:
            text[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            del text[at : at + rng.choice((1, 10, 200))]
        elif how == 2:
            text[at:at] = rng.choice((b'"', b"{", b"]", b"\\", b"\xff", b"0", b"[" * 2000, b"1" * 5000))
        elif how == 3:
            text[at:at] = text[at : at + rng.choice((1, 20, 300))]
        elif rng.random() < 0.2:
            del text[at:]
    return bytes(text)
