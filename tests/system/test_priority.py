"""With a bulk job running, a picture somebody waits for waits for the images in work, not for their shards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.processes import drawn, finished_images, until
from tests.system.service import QUEUE, attempts, finished, submit, worker_on
from workers.errors import QueueFullError
from workers.store import JobStore

pytestmark = pytest.mark.service

SHARD = 64


def test_an_urgent_picture_overtakes_a_bulk_shard_between_two_images(redis_server: RedisServer, tmp_path: Path) -> None:
    names = [f"{number:03}.jpg" for number in range(3 * SHARD)]
    for number, name in enumerate(names):
        drawn(tmp_path / "photos" / name, seed=number)
    shards = [names[start : start + SHARD] for start in range(0, len(names), SHARD)]
    store = JobStore(redis_server.url)
    with worker_on(redis_server, tmp_path):
        bulk = submit(redis_server, tmp_path / "photos", tmp_path / "bulk", shards, priority="bulk")
        until(lambda: finished_images(tmp_path / "bulk") >= 5, "the bulk job is at work")
        before = finished_images(tmp_path / "bulk")
        submitted = time.monotonic()
        urgent = submit(redis_server, tmp_path / "photos", tmp_path / "urgent", [names[:1]], priority="high")
        until(lambda: store.progress(urgent.job).open == 0, "the urgent picture is done")
        print(f"urgent picture done after {1000 * (time.monotonic() - submitted):.0f} ms")
        meanwhile = finished_images(tmp_path / "bulk") - before
        lines = finished(redis_server, bulk)

    # the image in work, and those that were done while the message travelled; nothing like the rest of the shard
    assert meanwhile < SHARD / 2
    assert sorted(lines) == sorted(names)
    assert store.progress(bulk.job).ok == len(names)


def test_a_shard_that_is_put_back_comes_to_its_end_however_often_it_is(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(12)]
    for number, name in enumerate(names):
        drawn(tmp_path / "photos" / name, seed=number)
    store = JobStore(redis_server.url)
    # somebody more urgent seems to wait all the time: its shard is open, and its message never comes
    ghost = submit(redis_server, tmp_path / "photos", tmp_path / "ghost", [["0.jpg"]], priority="high")
    store.redis.delete(f"{QUEUE}.high")
    with worker_on(redis_server, tmp_path, PIXELMILL_LEASE_SECONDS="60"):
        bulk = submit(redis_server, tmp_path / "photos", tmp_path / "bulk", [names], priority="bulk")
        until(lambda: max([*attempts(redis_server, bulk).values(), 0]) > 2 or None, "it is put back again and again")
        lines = finished(redis_server, bulk)
        finished(redis_server, ghost)  # a sweep has found that its message is missing

    assert sorted(lines) == sorted(names)


def test_a_full_queue_refuses_a_job(redis_server: RedisServer, tmp_path: Path) -> None:
    submit(redis_server, tmp_path / "photos", tmp_path / "out", [["a.jpg"], ["b.jpg"]])

    with pytest.raises(QueueFullError, match="2 shards wait, 2 may"):
        JobStore(redis_server.url).check_room(QUEUE, 2)
    JobStore(redis_server.url).check_room(QUEUE, 3)
