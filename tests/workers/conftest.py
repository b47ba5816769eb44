"""A real Valkey server for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.embedded import EmbeddedBroker
from workers.store import JobStore


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    server = EmbeddedBroker(tmp_path_factory.mktemp("valkey") / "data")
    yield server
    server.stop()


@pytest.fixture
def store(broker: EmbeddedBroker) -> Iterator[JobStore]:
    store = JobStore(broker.url)
    store.redis.flushall()
    yield store
    store.redis.close()
