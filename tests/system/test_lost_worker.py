"""A whole worker is killed or frozen while the queue is busy: its peers give out again what it had, in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.redis_server import RedisServer
from tests.system.processes import drawn, until
from tests.system.service import QUEUE, attempts, finished, held_by, kill_whole, submit, worker_on
from workers.jobs import JobSpec
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service

SHARDS, IMAGES = 600, 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost") / "photos"
    for number in range(IMAGES):
        drawn(folder / f"{number}.jpg", seed=number)
    return folder


def copies(photos: Path) -> list[list[str]]:
    """Many shards over few files: the same pictures by other names."""
    for number in range(SHARDS * IMAGES):
        link = photos / f"{number // IMAGES:04}-{number % IMAGES}.jpg"
        if not link.exists():
            link.symlink_to(photos / f"{number % IMAGES}.jpg")
    return [[f"{shard:04}-{number}.jpg" for number in range(IMAGES)] for shard in range(SHARDS)]


def begun_again_after(server: RedisServer, spec: JobSpec, shards: set[str], since: float) -> float:
    """Seconds until every one of these shards has been begun again, or is done."""
    until(lambda: all(attempts(server, spec).get(shard, 9) > 1 for shard in shards), "begun again", 30)
    return time.monotonic() - since


def test_what_a_killed_worker_worked_on_runs_again_within_ten_seconds_on_a_busy_queue(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    roots = (photos.parent, tmp_path)
    with worker_on(redis_server, *roots) as victim, worker_on(redis_server, *roots):
        # as on another machine: nobody can see that the process is dead, only that its lease is not renewed
        spec = submit(redis_server, photos, tmp_path / "out", copies(photos))
        lost = until(lambda: held_by(redis_server, spec, victim), "the victim works")
        pretend_it_ran_elsewhere(redis_server, spec.job, lost, victim)
        killed_at = time.monotonic()
        took = begun_again_after(redis_server, spec, lost, killed_at)
        busy = JobStore(redis_server.url).redis.llen(QUEUE)
        assert busy > 50, "the queue was not busy"
        print(f"in flight, owner on another machine: again after {took:.1f} s, {busy} messages in the queue")
        JobStore(redis_server.url).end(spec.job, "cancelled")

    assert took < 10


def pretend_it_ran_elsewhere(server: RedisServer, job: str, shards: set[str], victim: psutil.Process) -> None:
    """Freeze and kill a worker, and let the store believe its attempts were another machine's."""
    import json

    family = [victim, *victim.children(recursive=True)]
    for process in family:
        process.suspend()
    store = JobStore(server.url)
    live = store._keys(job)[2]
    for shard in shards:
        entry = json.loads(store.redis.hget(live, shard))
        store.redis.hset(live, shard, json.dumps({**entry, "attempt": f"another-machine:1:{shard}"}))
    kill_whole(victim)


def test_a_message_a_killed_worker_had_not_begun_runs_again_within_ten_seconds_on_a_busy_queue(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    roots = (photos.parent, tmp_path)
    with worker_on(redis_server, *roots), worker_on(redis_server, *roots) as victim:
        for child in victim.children():
            child.suspend()  # its parent takes a message that no child of it will begin
        killed_at = 0.0

        def shards() -> Iterator[list[str]]:
            nonlocal killed_at
            for number, shard in enumerate(copies(photos)[:200]):
                if number == 10:
                    kill_whole(victim)
                    killed_at = time.monotonic()
                yield shard

        spec = submit(redis_server, photos, tmp_path / "out", shards())
        store = JobStore(redis_server.url)
        lost = until(lambda: passed_over(redis_server, spec), "a shard is passed over")
        until(lambda: lost.isdisjoint(store.messages(spec.job)), "the message nobody had is done", 30)
        took = time.monotonic() - killed_at
        busy = store.redis.llen(QUEUE)
        print(f"reserved, not begun: done after {took:.1f} s, {busy} messages in the queue")
        store.end(spec.job, "cancelled")

    assert took < 10
    assert busy > 50, "the queue was not busy"


def passed_over(server: RedisServer, spec: JobSpec) -> set[str]:
    """Open shards that were not begun although a later one was: the queue is first in, first out."""
    store = JobStore(server.url)
    begun = attempts(server, spec).keys()
    return {shard for shard in store.messages(spec.job).keys() - begun if begun and shard < max(begun)}


def test_a_frozen_workers_shards_run_elsewhere_and_its_waking_changes_nothing(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    roots = (photos.parent, tmp_path)
    with worker_on(redis_server, *roots) as victim, worker_on(redis_server, *roots):
        spec = submit(redis_server, photos, tmp_path / "out", copies(photos)[:40])
        lost = until(lambda: held_by(redis_server, spec, victim), "the victim works")
        family = [victim, *victim.children(recursive=True)]
        for process in family:
            process.suspend()
        took = begun_again_after(redis_server, spec, lost, time.monotonic())
        print(f"frozen: again after {took:.1f} s")
        for process in family:
            process.resume()
        lines = finished(redis_server, spec)
        roll = Roll(JobStore(redis_server.url), QUEUE)
        until(lambda: sum(one.is_ready for one in roll.workers()) == 2, "both are ready again")

    assert took < 10
    assert len(lines) == 40 * IMAGES
    assert JobStore(redis_server.url).progress(spec.job).ok == 40 * IMAGES
