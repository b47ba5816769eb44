"""Who looks after running jobs, and what of a job the service remembers."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest

from tests.system.processes import until
from tests.workers.test_jobs import a_spec
from workers.app import make_app
from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError
from workers.jobs import JobSpec
from workers.manifest import ManifestWriter, manifest_path
from workers.registry import Registry
from workers.settings import settings
from workers.steward import LISTING_SECONDS, Steward
from workers.store import JobStore


@pytest.fixture
def registry(store: JobStore) -> Registry:
    return Registry(store)


@pytest.fixture
def steward(broker: EmbeddedBroker, store: JobStore) -> Steward:
    return a_steward(broker)


def a_steward(broker: EmbeddedBroker) -> Steward:
    return Steward(make_app(broker.url), JobStore(broker.url), settings().queue)


def a_job(registry: Registry, output: Path, images: int = 3) -> JobSpec:
    spec = a_spec(output=str(output))
    registry.create(spec, "photos/", "client")
    with ManifestWriter(output, spec.job) as manifest:
        for number in range(images):
            manifest.append((f"{number}.jpg",))
    registry.listing(spec.job, images, 2, shards=images)
    return spec


def end_all(registry: Registry, job: str) -> None:
    """Do all open shards, as a worker does."""
    for shard in registry.store.messages(job):
        registry.store.begin(job, shard, "worker", 60)
        registry.store.finish(job, shard, "worker", 1, {})


def test_a_job_is_fed_done_and_closed_without_its_client(registry: Registry, steward: Steward, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path)

    steward.tend(spec.job)
    assert sorted(registry.store.messages(spec.job)) == ["00000000", "00000001", "00000002"]
    end_all(registry, spec.job)
    steward.tend(spec.job)

    assert list(registry.store.messages(spec.job)) == ["close"]


def test_the_closing_message_says_what_became_of_the_job(registry: Registry, steward: Steward, tmp_path: Path) -> None:
    import json

    spec = a_job(registry, tmp_path, images=2)
    steward.tend(spec.job)
    for shard, failed in (("00000000", {}), ("00000001", {"truncated": 1})):
        registry.store.begin(spec.job, shard, "worker", 60)
        registry.store.finish(spec.job, shard, "worker", 1 - len(failed), failed)
    registry.store.note_provider(spec.job, "CPUExecutionProvider")

    steward.tend(spec.job)

    summary = json.loads(registry.store.messages(spec.job)["close"])["payload"]["summary"]
    assert (summary["done"], summary["failed"], summary["kept"]) == (1, 1, 2)
    assert summary["failed_by_code"] == {"truncated": 1}
    assert summary["model"] == {"name": spec.model_name, "sha256": spec.model_sha256}
    assert summary["provider"] == "CPUExecutionProvider"


def test_a_job_without_anything_to_compute_is_closed_at_once(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_job(registry, tmp_path, images=0)

    steward.tend(spec.job)

    assert list(registry.store.messages(spec.job)) == ["close"]


def test_a_job_is_not_closed_while_its_images_are_still_listed(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_spec(output=str(tmp_path))
    registry.create(spec, "photos/", "client")

    steward.tend(spec.job)

    assert registry.store.messages(spec.job) == {}
    assert registry.store.progress(spec.job).state == "running"


def test_a_job_whose_client_died_while_it_listed_images_ends(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_spec(output=str(tmp_path))
    registry.create(spec, "photos/", "client")
    registry.store.redis.hincrbyfloat(registry.store._keys(spec.job)[0], "beat", -LISTING_SECONDS - 1)

    steward.tend(spec.job)

    progress = registry.store.progress(spec.job)
    assert progress.state == "cancelled"
    assert "died before all its images were listed" in str(progress.reason)


def test_one_job_whose_folder_is_away_holds_nobody_up_and_goes_on_when_it_is_back(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "here").mkdir()
    away, here = a_job(registry, tmp_path / "away"), a_job(registry, tmp_path / "here")
    (tmp_path / "away").rename(tmp_path / "gone")

    assert steward.tend_all() == 2
    assert len(registry.store.messages(here.job)) == 3
    head = registry.head(away.job)
    assert head is not None
    assert "No such file" in str(head.trouble)

    (tmp_path / "gone").rename(tmp_path / "away")
    steward.tend_all()
    head = registry.head(away.job)
    assert head is not None
    assert head.trouble is None
    assert len(registry.store.messages(away.job)) == 3


def test_a_job_whose_list_was_deleted_fails_with_its_reason(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_job(registry, tmp_path)
    manifest_path(tmp_path, spec.job).unlink()

    steward.tend_all()

    progress = registry.store.progress(spec.job)
    assert progress.state == "failed"
    assert "list of its images" in str(progress.reason)


def test_one_steward_at_a_time_looks_after_the_jobs_and_the_next_takes_over(
    broker: EmbeddedBroker, store: JobStore
) -> None:
    first, second = a_steward(broker), a_steward(broker)

    assert (first.holds_the_lock(), second.holds_the_lock(), first.holds_the_lock()) == (True, False, True)
    second.resign()  # of what it does not have
    assert not second.holds_the_lock()
    first.resign()
    assert (second.holds_the_lock(), first.holds_the_lock()) == (True, False)
    assert store.redis.pttl("pixelmill-service:pixelmill:steward") > 0


def test_a_steward_outlives_a_broker_that_is_away_for_a_while(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "data")
    registry = Registry(JobStore(broker.url))
    (tmp_path / "out").mkdir()
    steward, stop = a_steward(broker), Event()
    thread = Thread(target=steward.run, args=(stop,))
    thread.start()
    until(lambda: registry.store.redis.exists("pixelmill-service:pixelmill:steward"), "it has begun")
    broker._process.kill()
    broker._process.wait()

    again = EmbeddedBroker(tmp_path / "data")
    Path(broker._folder / "broker.sock").unlink()
    Path(broker._folder / "broker.sock").symlink_to(again._folder / "broker.sock")
    spec = a_job(Registry(JobStore(again.url)), tmp_path / "out")
    until(lambda: len(JobStore(again.url).messages(spec.job)) == 3, "it feeds again")

    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    again.stop()
    broker.stop()


def test_what_a_job_is_comes_back_as_it_was_written(registry: Registry, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path)

    head = registry.head(spec.job)

    assert head is not None
    assert (head.spec, head.source, head.owner) == (spec, "photos/", "client")
    assert (head.images, head.kept, head.shards, head.fed) == (3, 2, 3, 0)
    assert abs(head.created - registry.now()) < 60
    assert registry.head("20200101-000000-00000000") is None


def test_a_job_written_by_another_version_is_named(registry: Registry, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path)
    registry.store.redis.hset(registry.store._keys(spec.job)[0], "spec", '{"no": "spec"}')

    with pytest.raises(BrokerError, match=f"job {spec.job} was written by another version"):
        registry.head(spec.job)


def test_jobs_are_listed_with_the_newest_first_and_forgotten_without_a_trace(
    registry: Registry, tmp_path: Path
) -> None:
    specs = [a_job(registry, tmp_path, images=1) for _ in range(3)]

    assert registry.jobs() == [spec.job for spec in reversed(specs)]
    assert registry.jobs(limit=1) == [specs[2].job]
    for spec in specs:
        registry.forget(spec.job)
    assert registry.store.redis.keys("*") == []


def test_a_key_means_the_first_job_that_claimed_it_until_that_is_replaced(registry: Registry) -> None:
    assert registry.claim("k", "job-0001") == "job-0001"
    assert registry.claim("k", "job-0002") == "job-0001"
    assert registry.claim("k", "job-0002", replacing="job-0009") == "job-0001"
    assert registry.claim("k", "job-0002", replacing="job-0001") == "job-0002"
    assert registry.store.redis.ttl("pixelmill:key:k") > 0
