"""What is away for a while: the broker, the disk. Work goes on by itself when it is back."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import psutil
import pytest

from tests.redis_server import RedisServer
from tests.system.processes import drawn, finished_images, until
from tests.system.service import QUEUE, finished, submit, worker_on
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service


def photos(folder: Path, count: int) -> list[str]:
    for number in range(count):
        drawn(folder / f"{number:03}.jpg", seed=number)
    return [f"{number:03}.jpg" for number in range(count)]


def test_a_broker_killed_and_started_again_loses_nothing_and_every_worker_takes_messages_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = photos(tmp_path / "photos", 120)
    with worker_on(redis_server, tmp_path) as first, worker_on(redis_server, tmp_path) as second:
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [names[n : n + 4] for n in range(0, 120, 4)])
        until(lambda: finished_images(tmp_path / "out") >= 20, "work has begun")
        time_to_sync = JobStore(redis_server.url).redis
        until(lambda: time_to_sync.info("persistence")["aof_pending_bio_fsync"] == 0, "its file is synced")
        redis_server.kill()
        redis_server.start()
        back = time.monotonic()
        roll = Roll(JobStore(redis_server.url), QUEUE)
        until(lambda: len([one for one in roll.workers() if one.is_ready]) == 2, "both workers are ready again", 60)
        print(f"both workers ready {time.monotonic() - back:.1f} s after the broker")
        lines = finished(redis_server, spec)
        print(f"job done {time.monotonic() - back:.1f} s after the broker")
        both = first.is_running() and second.is_running()

    assert both
    assert sorted(lines) == names
    assert {line["status"] for line in lines.values()} == {"ok"}


def test_a_patient_job_waits_for_a_full_disk_says_so_and_goes_on_when_there_is_room(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = photos(tmp_path / "photos", 4)
    store = JobStore(redis_server.url)
    with worker_on(redis_server, tmp_path) as worker:
        processes = [worker, *worker.children()]
        for process in processes:  # as a quota does: no file may grow any more
            process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [names], patience_seconds=60)
        head = store._keys(spec.job)[0]
        said = until(lambda: store.redis.hget(head, "held_up"), "it says what it waits for")
        state = store.progress(spec.job).state
        for process in processes:
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        lines = finished(redis_server, spec)

    assert state == "running"
    assert "could not be written. Free some space" in said
    assert sorted(lines) == names
    assert store.progress(spec.job).ok == 4
    assert store.redis.hget(head, "held_up") is None


def test_a_job_without_patience_fails_at_once_on_a_full_disk(redis_server: RedisServer, tmp_path: Path) -> None:
    names = photos(tmp_path / "photos", 1)
    store = JobStore(redis_server.url)
    with worker_on(redis_server, tmp_path) as worker:
        for process in [worker, *worker.children()]:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [names])
        until(lambda: store.progress(spec.job).state == "failed", "it fails")

    assert "could not be written" in (store.progress(spec.job).reason or "")
