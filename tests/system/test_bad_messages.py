"""Whatever is put into the queues, a worker goes on: what is no message lies among the dead letters with its reason."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import psutil
import pytest
import redis

from tests import rabbitmq_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer
from tests.system.processes import drawn, until
from tests.system.rabbitmq_service import Service
from tests.system.service import QUEUE, finished, submit, worker_on
from tests.workers.message_mutations import mutated, real_entries
from workers.app import make_app
from workers.deadletters import DeadLetters
from workers.store import JobStore

pytestmark = pytest.mark.service


def envelope(body: Any = None, **changes: Any) -> bytes:
    """An entry as Kombu writes it."""
    entry: dict[str, Any] = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "headers": {"task": "pixelmill.shard", "id": "1", "lang": "py"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": random.randbytes(8).hex(),
            "correlation_id": "1",
        },
    }
    return json.dumps({**entry, **changes}).encode()


ENTRIES = {
    "nothing": b"",
    "words": b"hello",
    "no text": b"\xff\x00\xfe",
    "a number": b"42",
    "a list": b"[]",
    "an empty object": b"{}",
    "nested too deep to read": b"[" * 200_000,
    "no delivery": envelope(properties={}),
    "a body that is no base64": envelope(body="x").replace(b'"body": "', b'"body": "!'),
    "a number for a body": envelope(**{"content-encoding": "utf-8"}).replace(b'"bnVsbA=="', b"7"),
    "a body that is no JSON": envelope(body=None).replace(b"bnVsbA==", base64.b64encode(b"{")),
    "no arguments": envelope(body={}),
    "pickle": envelope(**{"content-type": "application/x-python-serialize"}),
    "no task": envelope(headers={}),
    "an unknown task": envelope(body=[[], {}, {}], headers={"task": "os.system", "id": "1"}),
}


def shards(good: dict[str, Any]) -> dict[str, Any]:
    """Payloads of a shard that are not valid, each in one way."""
    spec = good["spec"]
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    return {
        "nothing": None,
        "no spec": {"number": 0, "images": ["a"]},
        "no images": {**good, "images": []},
        "too many images": {**good, "images": ["a.jpg"] * 257},
        "an endless name": {**good, "images": ["a" * 5000]},
        "parameters nested deeply": {**good, "spec": {**spec, "params": {"a": deep}}},
        "too many parameters": {**good, "spec": {**spec, "params": {str(n): n for n in range(6000)}}},
        "an unknown field": {**good, "surprise": 1},
        "a job that is a path": {**good, "spec": {**spec, "job": "../../etc/passwd"}},
        "a negative number": {**good, "number": -1},
    }


def test_what_is_no_message_goes_to_the_dead_letters_and_the_worker_goes_on(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    drawn(tmp_path / "photos" / "a.jpg")
    store, app = JobStore(redis_server.url), make_app(redis_server.url)
    letters = DeadLetters(store, QUEUE)
    with worker_on(redis_server, tmp_path) as worker:
        before = submit(redis_server, tmp_path / "photos", tmp_path / "out", [["a.jpg"]])
        finished(redis_server, before)
        bad_shards = shards({"spec": before.model_dump(mode="json"), "number": 9, "images": ["a.jpg"]})
        for entry in ENTRIES.values():
            store.redis.lpush(QUEUE, entry)
        for payload in bad_shards.values():
            app.send_task("pixelmill.shard", args=[payload], queue=QUEUE)
        expected = len(ENTRIES) + len(bad_shards)
        until(lambda: letters.count() >= expected, "they are put aside", 30)
        after = submit(redis_server, tmp_path / "photos", tmp_path / "after", [["a.jpg"]])
        lines = finished(redis_server, after)
        survived = worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE

    causes = [letter.cause for letter in letters.list()]
    assert len(causes) == expected, causes
    assert survived
    assert lines["a.jpg"]["status"] == "ok"
    assert store.redis.hlen("unacked") == 0
    assert {letter.kind for letter in letters.list()} == {"message"}
    assert any("nested deeper than 6 levels" in cause for cause in causes)
    assert any("there is no task" in cause for cause in causes)


@pytest.fixture
def rabbit_service(redis_server: RedisServer, tmp_path: Path) -> Iterator[Service]:
    """RabbitMQ with its state in the test's own Redis."""
    if rabbitmq_server.BINARY is None:
        pytest.skip("no rabbitmq-server here; apt-get install rabbitmq-server")
    rabbit = RabbitServer(tmp_path / "rabbitmq")
    rabbit.start()
    yield Service(rabbit, redis_server)
    rabbit.stop()


def put(service: RedisServer | Service, entries: list[bytes]) -> None:
    """Put entries into the service's queue as they are, or as near to them as AMQP can carry."""
    if isinstance(service, RedisServer):
        redis.Redis.from_url(service.url).lpush(QUEUE, *entries)
        return
    for entry in entries:  # a connection each: the server closes one that brings it what it can't read itself
        with (
            contextlib.suppress(amqp.AMQPError),
            amqp.Connection(f"127.0.0.1:{service.rabbit.port}", "guest", "guest", confirm_publish=True) as connection,
        ):
            connection.channel().basic_publish(as_amqp(entry), routing_key=QUEUE)


def as_amqp(entry: bytes) -> amqp.Message:
    """An entry of a list as RabbitMQ's clients would send it; one that can't be said so becomes a body alone."""
    try:
        read = json.loads(entry)
        about = {"content_type": read["content-type"], "content_encoding": read["content-encoding"]}
        body = base64.b64decode(read["body"])
        message = amqp.Message(body, application_headers=read["headers"], delivery_mode=2, **about)
        message._serialize_properties()
    except (amqp.AMQPError, ValueError, TypeError, LookupError, AttributeError, struct.error, OverflowError):
        return amqp.Message(entry, content_type="application/json", content_encoding="utf-8", delivery_mode=2)
    return message


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_hundreds_of_changed_messages_leave_the_worker_as_it_was(
    kind: str, redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    service = request.getfixturevalue("rabbit_service") if kind == "rabbitmq" else redis_server
    drawn(tmp_path / "photos" / "a.jpg")
    store = JobStore(redis_server.url)
    with worker_on(service, tmp_path, log_level="ERROR", PIXELMILL_STORE=redis_server.url) as worker:
        before = submit(service, tmp_path / "photos", tmp_path / "out", [["a.jpg"]])
        finished(service, before)
        children = {child.pid for child in worker.children()}
        entries = real_entries(make_app(redis_server.url), store, before, ("a.jpg",))
        put(service, [mutated(entries, seed) for seed in range(300)])
        after = submit(service, tmp_path / "photos", tmp_path / "after", [["a.jpg"]], priority="bulk")
        lines = finished(service, after)
        same = {child.pid for child in worker.children()}
        survived = worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE

    letters = DeadLetters(store, QUEUE).list()
    assert survived
    assert same == children
    assert lines["a.jpg"]["status"] == "ok"
    assert {(letter.kind, letter.code) for letter in letters} == {("message", "invalid")}
    assert len({letter.cause for letter in letters}) > 20
    assert all(letter.cause for letter in letters)
