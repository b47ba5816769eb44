"""A service whose messages go through RabbitMQ: real servers, and what tests ask of the two."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import rabbitmq_server, redis_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer
from workers import Client


@dataclass(frozen=True)
class Service:
    """Two servers that are one service. broker: RabbitMQ's URL; url: of the store, as the helpers know it."""

    rabbit: RabbitServer
    redis: RedisServer

    @property
    def broker(self) -> str:
        return self.rabbit.url

    @property
    def url(self) -> str:
        return self.redis.url

    @property
    def variables(self) -> dict[str, str]:
        return {"PIXELMILL_BROKER": self.broker, "PIXELMILL_STORE": self.url}

    @property
    def client(self) -> Client:
        return Client(self.broker, self.url)


@contextlib.contextmanager
def rabbitmq_service(folder: Path) -> Iterator[Service]:
    """Both servers, with their data in the folder; the test is skipped where one is not installed."""
    if rabbitmq_server.BINARY is None or redis_server.BINARY is None:
        pytest.skip("no rabbitmq-server or no redis-server here; apt-get install rabbitmq-server redis-server")
    both = Service(RabbitServer(folder / "rabbitmq"), RedisServer(folder / "redis"))
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda server: server.start(), (both.rabbit, both.redis)))
        yield both
    finally:
        both.rabbit.stop()
        both.redis.stop()
