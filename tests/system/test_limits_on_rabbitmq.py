"""With RabbitMQ as the broker: a job's limit of processes holds, and a client that is closed leaves no connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import rabbitmq_server, redis_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer
from tests.system.processes import drawn, results, started_worker, until
from workers import Client
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
IMAGES, PROCESSES = 30, 4


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RabbitServer, RedisServer]]:
    if rabbitmq_server.BINARY is None or redis_server.BINARY is None:
        pytest.skip("no rabbitmq-server and redis-server here; apt-get install rabbitmq-server redis-server")
    rabbit, redis = RabbitServer(tmp_path / "rabbit"), RedisServer(tmp_path / "redis")
    try:
        rabbit.start()
        redis.start()
        yield rabbit, redis
    finally:
        redis.stop()
        rabbit.stop()


def connections(*ports: int) -> int:
    """How many connections of this process lead to these ports."""
    mine = psutil.Process().net_connections(kind="tcp")
    return sum(1 for one in mine if one.raddr and one.raddr.port in ports and one.status == psutil.CONN_ESTABLISHED)


def test_a_limit_holds_and_a_closed_client_leaves_no_connection(
    servers: tuple[RabbitServer, RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_SHARD_IMAGES", "1")
    rabbit, redis = servers
    for seed in range(IMAGES):
        drawn(tmp_path / "photos" / f"{seed}.jpg", seed)
    options = ["--root", str(tmp_path), "--processes", str(PROCESSES), "--threads", "1"]
    store, most = JobStore(redis.url), 0
    with started_worker("--broker", rabbit.url, *options, PIXELMILL_STORE=redis.url):
        roll = Roll(store, "pixelmill")
        until(lambda: any(len(one.members) == PROCESSES for one in roll.workers()), "four processes are there")
        with Client(rabbit.url, redis.url) as client:
            job = client.submit("classify", tmp_path / "photos", output=tmp_path / "out", concurrency=1)
            client.run("classify", tmp_path / "photos" / "1.jpg")

            def ended() -> bool:
                nonlocal most
                for _ in range(20):
                    most = max(most, len(store.progress(job).live))
                return client.status(job).has_ended

            until(ended, "the job has ended")
            state = client.status(job).state
            while_open = connections(rabbit.port)
        afterwards = connections(rabbit.port)

    assert (state, len(results(tmp_path / "out"))) == ("done", IMAGES)
    assert most == 1
    assert while_open >= 1
    assert afterwards == 0
