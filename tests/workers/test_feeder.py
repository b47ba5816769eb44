"""Cutting a job into shards, and feeding them to the queue from the list beside its results."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.test_jobs import a_spec
from workers.app import make_app
from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError, OutputError
from workers.feeder import WINDOW, Feeder, cut
from workers.jobs import JobSpec, Shard
from workers.manifest import ManifestWriter, manifest_path
from workers.registry import Head, Registry
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
def registry(store: JobStore) -> Registry:
    return Registry(store)


@pytest.fixture
def feeder(broker: EmbeddedBroker, registry: Registry) -> Feeder:
    return Feeder(make_app(broker.url), registry, QUEUE)


@pytest.fixture
def spec(registry: Registry, tmp_path: Path) -> JobSpec:
    """A job of 300 shards of one image, wholly listed."""
    spec = a_spec(output=str(tmp_path))
    registry.create(spec, "photos/", "client")
    with ManifestWriter(tmp_path, spec.job) as manifest:
        for number in range(300):
            manifest.append((f"{number}.jpg",))
    registry.listing(spec.job, 300, 0, shards=300)
    return spec


def published(store: JobStore, queue: str = QUEUE) -> list[str]:
    """Keys of the shards whose messages lie in the queue, the oldest first."""
    bodies = [json.loads(message)["body"] for message in reversed(store.redis.lrange(queue, 0, -1))]
    payloads = [json.loads(base64.b64decode(body))[0][0] for body in bodies]
    return [Shard.model_validate(payload).key for payload in payloads]


def head_of(registry: Registry, spec: JobSpec) -> Head:
    head = registry.head(spec.job)
    assert head is not None
    return head


def test_no_more_than_a_window_of_shards_is_submitted(registry: Registry, spec: JobSpec, feeder: Feeder) -> None:
    assert feeder.feed(head_of(registry, spec), 0) == WINDOW
    assert registry.store.progress(spec.job).open == WINDOW
    assert published(registry.store) == [f"{n:08}" for n in range(WINDOW)]

    assert feeder.feed(head_of(registry, spec), WINDOW) == 0
    assert feeder.feed(head_of(registry, spec), WINDOW - 2) == 2
    assert not head_of(registry, spec).is_fed
    assert feeder.feed(head_of(registry, spec), 0) == WINDOW
    assert feeder.feed(head_of(registry, spec), 0) == 300 - 2 * WINDOW - 2
    assert head_of(registry, spec).is_fed
    assert feeder.feed(head_of(registry, spec), 0) == 0
    assert published(registry.store) == [f"{n:08}" for n in range(300)]


def test_a_job_with_a_limit_never_has_more_shards_open_whatever_its_feeder_believes(
    registry: Registry, feeder: Feeder, tmp_path: Path
) -> None:
    spec = a_spec(output=str(tmp_path), concurrency=2)
    registry.create(spec, "photos/", "client")
    with ManifestWriter(tmp_path, spec.job) as manifest:
        for number in range(5):
            manifest.append((f"{number}.jpg",))
    registry.listing(spec.job, 5, 0, shards=5)

    assert feeder.feed(head_of(registry, spec), 0) == 2
    assert feeder.feed(head_of(registry, spec), 2) == 0
    assert feeder.feed(head_of(registry, spec), 0) == 0  # it has counted before the other two were opened
    registry.store.begin(spec.job, "00000000", "one", 60)
    registry.store.take_back(spec.job, "00000000", "one")
    assert feeder.feed(head_of(registry, spec), 0) == 0  # one that was put back is open
    registry.store.begin(spec.job, "00000000", "two", 60)
    registry.store.finish(spec.job, "00000000", "two", 1, {})
    assert feeder.feed(head_of(registry, spec), 1) == 1
    assert registry.store.progress(spec.job).open == 2


def test_two_who_feed_the_same_job_at_once_submit_every_shard_once(
    registry: Registry, spec: JobSpec, feeder: Feeder, broker: EmbeddedBroker
) -> None:
    start = Barrier(2)

    def feed(one: Feeder) -> int:
        start.wait()
        own, fed = Registry(JobStore(broker.url)), 0
        while not (head := head_of(own, spec)).is_fed:
            fed += one.feed(head, 0)
        return fed

    with ThreadPoolExecutor(2) as pool:
        other = Feeder(make_app(broker.url), Registry(JobStore(broker.url)), QUEUE)
        fed = list(pool.map(feed, [feeder, other]))

    assert sum(fed) == 300
    assert sorted(published(registry.store)) == [f"{n:08}" for n in range(300)]


def test_who_looked_before_a_shard_was_done_does_not_open_it_again(
    registry: Registry, spec: JobSpec, feeder: Feeder
) -> None:
    seen = head_of(registry, spec)
    feeder.feed(seen, WINDOW - 1)
    registry.store.begin(spec.job, "00000000", "one", 60)
    registry.store.finish(spec.job, "00000000", "one", 1, {})

    assert feeder.feed(seen, 0) == 0
    assert registry.store.progress(spec.job).open == 0


def test_a_list_that_is_still_written_is_fed_as_far_as_it_is(
    registry: Registry, feeder: Feeder, tmp_path: Path
) -> None:
    spec = a_spec(output=str(tmp_path))
    registry.create(spec, "photos/", "run")
    assert feeder.feed(head_of(registry, spec), 0) == 0

    with ManifestWriter(tmp_path, spec.job) as manifest:
        manifest.append(("a.jpg",))
        manifest._file.write(b'["b.j')
        assert feeder.feed(head_of(registry, spec), 0) == 1
        manifest._file.write(b'pg"]\n')
        assert feeder.feed(head_of(registry, spec), 1) == 1

    assert not head_of(registry, spec).is_fed
    registry.listing(spec.job, 2, 0, shards=2)
    assert head_of(registry, spec).is_fed


def test_a_list_that_is_gone_or_damaged_is_an_error(
    registry: Registry, spec: JobSpec, feeder: Feeder, tmp_path: Path
) -> None:
    path = manifest_path(tmp_path, spec.job)
    path.write_bytes(b'{"no": "list"}\n')
    with pytest.raises(OutputError, match="must be a list of names"):
        feeder.feed(head_of(registry, spec), 0)
    path.write_bytes(b"no JSON\n")
    with pytest.raises(OutputError, match="is damaged before byte 8"):
        feeder.feed(head_of(registry, spec), 0)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        feeder.feed(head_of(registry, spec), 0)


def test_a_jobs_priority_chooses_its_queue(registry: Registry, feeder: Feeder, tmp_path: Path) -> None:
    spec = a_spec(output=str(tmp_path), priority="high")
    registry.create(spec, "a.jpg", "client")
    with ManifestWriter(tmp_path, spec.job) as manifest:
        manifest.append(("a.jpg",))
    registry.listing(spec.job, 1, 0, shards=1)

    feeder.feed(head_of(registry, spec), 0)

    assert published(registry.store) == []
    assert published(registry.store, f"{QUEUE}.high") == ["00000000"]


def test_names_that_are_no_text_survive_the_list(registry: Registry, feeder: Feeder, tmp_path: Path) -> None:
    names = tuple(
        os.fsdecode(name) for name in (b"caf\xe9.jpg", "日本.jpg".encode(), b"new\nline.jpg", b'"quoted".jpg')
    )
    spec = a_spec(output=str(tmp_path), root=os.fsdecode(b"/caf\xe9"))
    registry.create(spec, os.fsdecode(b"/caf\xe9"), "client")
    with ManifestWriter(tmp_path, spec.job) as manifest:
        manifest.append(names)
    registry.listing(spec.job, 4, 0, shards=1)

    feeder.feed(head_of(registry, spec), 0)

    (message,) = registry.store.messages(spec.job).values()
    assert Shard.model_validate(json.loads(message)["payload"]).images == names
    assert head_of(registry, spec).spec == spec


def test_a_broker_that_went_away_while_publishing_is_one_error(registry: Registry, spec: JobSpec) -> None:
    app = make_app("redis://127.0.0.1:1")
    app.conf.task_publish_retry = False

    with pytest.raises(BrokerError, match="the broker went away"):
        Feeder(app, registry, QUEUE).feed(head_of(registry, spec), 0)


def test_an_embedded_broker_listens_on_a_private_socket_only(broker: EmbeddedBroker) -> None:
    config = JobStore(broker.url).redis.config_get("*")
    socket = Path(broker.url.removeprefix("redis+socket://"))

    assert config["port"] == "0"
    assert config["appendonly"] == "yes"
    assert socket.stat().st_mode & 0o077 == 0
    assert socket.parent.stat().st_mode & 0o077 == 0
