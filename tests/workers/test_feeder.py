"""Cutting a job into shards, and bringing back those whose worker died."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workers.feeder
from tests.workers.test_jobs import a_spec
from workers.app import make_app
from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError
from workers.feeder import WINDOW, Feeder, cut
from workers.jobs import JobSpec, Shard, new_attempt
from workers.store import JobStore

QUEUE = "pixelmill-test"


@given(count=st.integers(0, 500), largest=st.integers(1, 64), hands=st.integers(1, 16), known_from=st.integers(0, 600))
def test_every_name_is_cut_once_and_in_order_into_shards_of_bounded_size(
    count: int, largest: int, hands: int, known_from: int
) -> None:
    names = [f"{n}.jpg" for n in range(count)]
    taken = [0]

    def stream() -> Iterator[str]:
        for name in names:
            taken[0] += 1
            yield name

    def left() -> int | None:
        return count - taken[0] if taken[0] >= known_from else None

    shards = list(cut(stream(), largest, left, hands))

    assert [name for shard in shards for name in shard] == names
    assert all(1 <= len(shard) <= largest for shard in shards)
    assert [len(shard) for shard in shards[:1]] == [1] * min(count, 1)


def test_the_last_shards_are_small_so_that_no_hand_works_alone() -> None:
    names = [str(n) for n in range(1000)]
    taken = iter(names)

    shards = list(cut(taken, 16, lambda: taken.__length_hint__(), hands=2))  # type: ignore[attr-defined]

    assert len(shards[len(shards) // 2]) == 16
    assert len(shards[-1]) == 1


@pytest.fixture
def spec(store: JobStore) -> JobSpec:
    spec = a_spec()
    store.create(spec.job)
    return spec


@pytest.fixture
def feeder(broker: EmbeddedBroker, store: JobStore, spec: JobSpec) -> Feeder:
    shards = iter([(f"{n}.jpg",) for n in range(300)])
    return Feeder(make_app(broker.url), store, spec, shards, QUEUE)


def published(store: JobStore) -> list[str]:
    """Keys of the shards whose messages lie in the queue, the oldest first."""
    bodies = [json.loads(message)["body"] for message in reversed(store.redis.lrange(QUEUE, 0, -1))]
    import base64

    payloads = [json.loads(base64.b64decode(body))[0][0] for body in bodies]
    return [Shard.model_validate(payload).key for payload in payloads]


def test_no_more_than_a_window_of_shards_is_submitted(store: JobStore, spec: JobSpec, feeder: Feeder) -> None:
    feeder.feed(0)

    assert store.progress(spec.job).open == WINDOW
    assert published(store) == [f"{n:08}" for n in range(WINDOW)]
    feeder.feed(WINDOW)
    assert feeder.images == WINDOW
    feeder.feed(WINDOW - 2)
    assert (feeder.images, feeder.exhausted) == (WINDOW + 2, False)
    feeder.feed(0)
    feeder.feed(0)
    assert (feeder.images, feeder.exhausted) == (300, True)


def drain(store: JobStore) -> None:
    """Take every message, as a worker does that then dies."""
    store.redis.delete(QUEUE)


def test_a_lease_that_ran_out_is_published_again(store: JobStore, spec: JobSpec, feeder: Feeder) -> None:
    feeder.feed(WINDOW - 2)
    drain(store)
    store.begin(spec.job, "00000000", "dead", -1)
    store.begin(spec.job, "00000001", "alive", 60)

    brought = feeder.bring_back(store.progress(spec.job), lost_worker=False)

    assert brought == 1
    assert published(store) == ["00000000"]
    assert feeder.bring_back(store.progress(spec.job), lost_worker=False) == 0


def test_a_lost_workers_shards_are_published_at_once(store: JobStore, spec: JobSpec, feeder: Feeder) -> None:
    feeder.feed(WINDOW - 2)
    drain(store)
    store.begin(spec.job, "00000000", "dead", 60)
    store.begin(spec.job, "00000001", "dead too", 60)

    assert feeder.bring_back(store.progress(spec.job), lost_worker=True) == 2
    assert sorted(published(store)) == ["00000000", "00000001"]


def test_a_shard_whose_process_on_this_machine_is_gone_is_published_at_once(
    store: JobStore, spec: JobSpec, feeder: Feeder
) -> None:
    code = "from workers.jobs import new_attempt; print(new_attempt())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    feeder.feed(WINDOW - 2)
    drain(store)
    store.begin(spec.job, "00000000", gone, 60)
    store.begin(spec.job, "00000001", new_attempt(), 60)

    assert feeder.bring_back(store.progress(spec.job), lost_worker=False) == 1
    assert published(store) == ["00000000"]


def test_a_shard_that_another_attempt_took_over_is_not_brought_back(
    store: JobStore, spec: JobSpec, feeder: Feeder
) -> None:
    feeder.feed(WINDOW - 1)
    drain(store)
    store.begin(spec.job, "00000000", "dead", 60)
    seen = store.progress(spec.job)
    store.take_back(spec.job, "00000000", "dead")
    store.begin(spec.job, "00000000", "alive", 60)

    assert feeder.bring_back(seen, lost_worker=True) == 0


def test_messages_that_went_down_with_a_worker_are_published_again_after_a_while(
    store: JobStore, spec: JobSpec, feeder: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(workers.feeder.time, "monotonic", lambda: now[0])
    feeder.feed(WINDOW - 3)
    drain(store)
    store.begin(spec.job, "00000000", "alive", 60)

    assert feeder.bring_back(store.progress(spec.job), lost_worker=False) == 0
    now[0] += workers.feeder.STALL_SECONDS + 0.1
    assert feeder.bring_back(store.progress(spec.job), lost_worker=False) == 2
    assert sorted(published(store)) == ["00000001", "00000002"]


def test_messages_that_wait_in_the_queue_are_not_published_again(
    store: JobStore, spec: JobSpec, feeder: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(workers.feeder.time, "monotonic", lambda: now[0])
    feeder.feed(WINDOW - 3)

    for _ in range(5):
        now[0] += workers.feeder.STALL_SECONDS
        assert feeder.bring_back(store.progress(spec.job), lost_worker=False) == 0
    assert len(published(store)) == 3


def test_a_broker_that_went_away_while_publishing_is_one_error(store: JobStore, spec: JobSpec) -> None:
    app = make_app("redis://127.0.0.1:1")
    app.conf.task_publish_retry = False
    feeder = Feeder(app, store, spec, iter([("a.jpg",)]), QUEUE)

    with pytest.raises(BrokerError, match="the broker went away"):
        feeder.feed(0)


def test_an_embedded_broker_listens_on_a_private_socket_only(broker: EmbeddedBroker) -> None:
    config = JobStore(broker.url).redis.config_get("*")
    socket = Path(broker.url.removeprefix("redis+socket://"))

    assert config["port"] == "0"
    assert config["appendonly"] == "yes"
    assert socket.stat().st_mode & 0o077 == 0
    assert socket.parent.stat().st_mode & 0o077 == 0
