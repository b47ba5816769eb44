"""The store itself is full, on disk or in memory: a submission says so, workers wait and go on when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.redis_server import BINARY, RedisServer
from tests.system.disks import Disk, Folder, small_disk
from tests.system.processes import drawn, left_behind, one_sentence, pixelmill, results, until
from tests.system.service import worker_on
from workers import Client

pytestmark = pytest.mark.service

IMAGES = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "of-the-store") as disk:
        yield disk


@pytest.fixture
def server(disk: Disk) -> Iterator[RedisServer]:
    """A server whose append-only file is on a small disk."""
    if BINARY is None:
        pytest.skip("no redis-server here; apt-get install redis-server")
    server = RedisServer(disk.path / "redis")
    server.start()
    yield server
    server.stop()


def fill(server: RedisServer, disk: Disk, what: str) -> None:
    """Let the server write no more. Where nobody may mount a small disk its memory stands for that, too."""
    if what == "disk" and not isinstance(disk, Folder):
        disk.hit("full")
    else:
        redis.Redis.from_url(server.url).config_set("maxmemory", 1)


def empty(server: RedisServer, disk: Disk, what: str) -> None:
    if what == "disk" and not isinstance(disk, Folder):
        disk.heal("full")
    else:
        redis.Redis.from_url(server.url).config_set("maxmemory", 0)


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_a_full_store_refuses_what_is_submitted_and_goes_on_with_what_it_has(
    what: str, server: RedisServer, disk: Disk, tmp_path: Path
) -> None:
    names = [drawn(tmp_path / "photos" / f"{number:03}.jpg", seed=number).name for number in range(IMAGES)]
    client, broker = Client(server.url), {"PIXELMILL_BROKER": server.url}
    with worker_on(server, tmp_path) as worker:
        before = client.submit("classify", tmp_path / "photos", output=tmp_path / "before", overlays=False)
        until(lambda: client.status(before).finished >= 4, "work has begun")
        fill(server, disk, what)
        submit = ["submit", "classify", tmp_path / "photos", "--out", tmp_path / "after", "--no-overlays"]
        said = until(lambda: (done := pixelmill(*submit, **broker)).returncode and one_sentence(done), "it is refused")
        empty(server, disk, what)
        status = client.wait(before, timeout=90)
        after = pixelmill(*submit, **broker)
        client.wait(after.stdout.strip().splitlines()[-1], timeout=90)
        survived = worker.is_running()

    assert "No space left on device" in said or "maxmemory" in said
    assert status.state == "done"
    assert after.returncode == 0
    assert survived
    for out in (tmp_path / "before", tmp_path / "after"):
        assert sorted(results(out)) == names
        assert left_behind(out) == []
