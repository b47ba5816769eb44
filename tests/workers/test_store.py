"""What is the own of the state in Valkey: its keys expire, a server killed knows it again, one away is said so.

What it shares with its twin stands in test_store_contract.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError
from workers.jobs import new_job_id
from workers.store import JobStore

SHARD = "00000000"
LONG, SHORT = 60.0, 0.05


@pytest.fixture
def job(store: JobStore) -> str:
    job = new_job_id()
    store.create(job)
    store.open(job, SHARD, "the message")
    return job


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_forgotten_job_is_gone_for_everybody(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    store.forget(job)

    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("gone", "")
    assert store.progress(job).state == "cancelled"
    assert store.redis.keys("*") == []


def test_the_state_of_a_job_expires(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.open(job, "00000001", "another message")
    store.begin(job, "00000001", "two", LONG)
    store.open(job, "00000002", "a third message")

    assert all(store.redis.ttl(key) > 0 for key in store.redis.keys("*"))


def test_a_server_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(BrokerError, match=r"redis://:\*\*\*@127.0.0.1:1 can't be reached") as caught:
        JobStore("redis://:secret@127.0.0.1:1").ping()
    assert "secret" not in str(caught.value)


def test_a_server_killed_and_started_again_still_knows_its_jobs(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "data")
    store = JobStore(broker.url)
    job = new_job_id()
    store.create(job)
    store.open(job, SHARD, "the message")
    store.begin(job, SHARD, "one", LONG)
    aof = tmp_path / "data" / "appendonlydir"
    until(lambda: any("the message" in path.read_text("latin1") for path in aof.glob("*.incr.aof")))

    broker._process.kill()
    broker._process.wait()
    again = EmbeddedBroker(tmp_path / "data")

    assert JobStore(again.url).messages(job) == {SHARD: "the message"}
    assert JobStore(again.url).begin(job, SHARD, "two", LONG) == ("busy", "one")
    again.stop()
    broker.stop()
