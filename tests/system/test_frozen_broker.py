"""A broker that accepts and does not answer: nobody waits without end, and work goes on when it answers again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import rabbitmq_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer
from tests.system.processes import drawn, finished_images, until
from tests.system.service import MODEL, QUEUE, finished, submit, worker_on
from workers import publish as publishing
from workers.app import make_app
from workers.client import Client
from workers.errors import BrokerError
from workers.publish import publish
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service

MESSAGE = '{"task": "pixelmill.shard", "payload": {}}'


def test_a_client_says_that_a_frozen_broker_does_not_answer_and_works_again_when_it_does(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    drawn(tmp_path / "photo.jpg", seed=1)
    client = Client(redis_server.url)
    redis_server.freeze()
    with pytest.raises(BrokerError, match=r"does not answer|can't be reached|went away"):
        client.submit("classify", str(tmp_path / "photo.jpg"), output=tmp_path / "out", model=str(MODEL))
    redis_server.thaw()

    job = client.submit("classify", str(tmp_path / "photo.jpg"), output=tmp_path / "out", model=str(MODEL))

    assert client.status(job).state == "pending"


def test_a_broker_that_freezes_for_longer_than_every_lease_costs_no_image(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = [f"{number:03}.jpg" for number in range(120)]
    for number, name in enumerate(names):
        drawn(tmp_path / "photos" / name, seed=number)
    app = make_app(redis_server.url)
    with worker_on(redis_server, tmp_path) as first, worker_on(redis_server, tmp_path) as second:
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [names[n : n + 4] for n in range(0, 120, 4)])
        until(lambda: finished_images(tmp_path / "out") >= 10, "work has begun")
        redis_server.freeze()
        with pytest.raises(BrokerError, match="went away"):  # also a publication that has a connection already
            publish(app, QUEUE, MESSAGE, patience=10)
        redis_server.thaw()
        roll = Roll(JobStore(redis_server.url), QUEUE)
        until(lambda: len([one for one in roll.workers() if one.is_ready]) == 2, "both workers are ready again", 60)
        lines = finished(redis_server, spec)
        both = first.is_running() and second.is_running()

    assert both
    assert sorted(lines) == names
    assert {line["status"] for line in lines.values()} == {"ok"}


def test_a_rabbitmq_that_freezes_before_a_queue_is_declared_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rabbitmq_server.BINARY is None:
        pytest.skip("no rabbitmq-server here; apt-get install rabbitmq-server")
    monkeypatch.setattr(publishing, "_ANSWER_SECONDS", 1.0)
    server = RabbitServer(tmp_path / "rabbitmq")
    server.start()
    try:
        app = make_app(server.url)
        publish(app, QUEUE, MESSAGE)
        server.freeze()
        with pytest.raises(BrokerError, match="went away"):  # this queue is new to the connection
            publish(app, f"{QUEUE}.high", MESSAGE, patience=0)
        server.thaw()

        publish(app, f"{QUEUE}.high", MESSAGE)

        with app.connection_for_read() as connection, connection.channel() as channel:
            assert channel.queue_declare(f"{QUEUE}.high", passive=True).message_count >= 1
    finally:
        server.stop()
