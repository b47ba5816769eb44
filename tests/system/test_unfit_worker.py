"""A worker that fails again and again where its peer manages takes itself out, says why, and comes back when mended."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.fitness import limit_files, taken_out
from tests.system.processes import drawn, pixelmill, until
from tests.system.service import QUEUE, finished, held_by, submit, worker_on
from workers.roll import Worker
from workers.store import JobStore

pytestmark = pytest.mark.service

SHARDS, MANY = 150, 600


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unfit") / "photos"
    for number in range(MANY):
        if number < 4:
            drawn(folder / f"{number:03}.jpg", seed=number)
        else:
            (folder / f"{number:03}.jpg").symlink_to(folder / f"{number % 4:03}.jpg")
    return folder


def shards(count: int = SHARDS) -> list[list[str]]:
    return [[f"{number:03}.jpg"] for number in range(count)]


def test_a_worker_that_cannot_write_leaves_the_job_to_its_peer_and_returns_when_it_can(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    roots, variables = (photos.parent, tmp_path), {"PIXELMILL_BROKER": redis_server.url}
    with worker_on(redis_server, *roots), worker_on(redis_server, *roots) as sick:
        limit_files(sick, 0)
        spec = submit(redis_server, photos, tmp_path / "out", shards(), patience_seconds=600)
        out = until(lambda: taken_out(redis_server, sick), "the sick worker takes itself out")
        said = pixelmill("status", **variables).stdout
        lines = finished(redis_server, spec)
        limit_files(sick, resource.RLIM_INFINITY)
        until(lambda: not taken_out(redis_server, sick), "it returns")
        again = submit(redis_server, photos, tmp_path / "again", shards())
        until(lambda: held_by(redis_server, again, sick), "it works")
        more = finished(redis_server, again)

    assert "could not be written" in out.unfit
    assert not out.is_ready
    assert "not ready: it has taken itself out: a limit is reached" in said
    assert [len(lines), len(more)] == [SHARDS, SHARDS]
    assert {line["status"] for line in (*lines.values(), *more.values())} == {"ok"}


def test_a_worker_whose_processes_die_while_they_load_the_model_leaves_the_job_to_its_peer(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    roots, store = (photos.parent, tmp_path), JobStore(redis_server.url)
    with worker_on(redis_server, *roots), worker_on(redis_server, *roots) as sick:
        spec = submit(redis_server, photos, tmp_path / "out", shards(MANY), patience_seconds=600)

        def killed_at_work() -> Worker | None:
            at_work = {token.split(":")[1] for token in store.progress(spec.job).live.values()}
            for child in sick.children():
                if str(child.pid) in at_work:
                    child.kill()
            return taken_out(redis_server, sick)

        out = until(killed_at_work, "the sick worker takes itself out")
        lines = finished(redis_server, spec)

    assert "killed by signal 9 (SIGKILL) while it loaded model" in out.unfit
    assert len(lines) == MANY


def test_the_only_worker_goes_on_trying_and_goes_on_when_it_can_write(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    store = JobStore(redis_server.url)
    with worker_on(redis_server, photos.parent, tmp_path) as only:
        limit_files(only, 0)
        spec = submit(redis_server, photos, tmp_path / "out", shards(8), patience_seconds=600)
        until(lambda: len(store.redis.keys("pixelmill-service:*:troubles")) == 1, "it fails")
        until(lambda: store.redis.zcard(f"pixelmill-service:{QUEUE}:later") == 8, "all are put off")
        out = taken_out(redis_server, only)
        limit_files(only, resource.RLIM_INFINITY)
        lines = finished(redis_server, spec)

    assert out is None
    assert len(lines) == 8
