"""A running service: a real Redis server, workers started by hand, and `run` as its client."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.redis_server import RedisServer
from tests.system.processes import (
    alive_of,
    descendants,
    finished_images,
    left_behind,
    one_sentence,
    photographs,
    pixelmill,
    results,
    started,
    started_worker,
    until,
    without_timings,
)
from workers.store import JobStore

pytestmark = pytest.mark.service
IMAGES = 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("service") / "photos", IMAGES)


@contextlib.contextmanager
def worker_on(server: RedisServer, *roots: Path) -> Iterator[psutil.Process]:
    """A worker started by hand, ready for work; ended as an operator would end it."""
    options = [option for root in roots for option in ("--root", str(root))]
    with started_worker("--broker", server.url, *options, "--processes", "2") as process:
        family = psutil.Process(process.pid)
        until(lambda: len(descendants(process.pid)) >= 2 or process.poll() is not None, "the worker has its children")
        assert process.poll() is None
        yield family
        with contextlib.suppress(psutil.NoSuchProcess):
            family.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)


def test_a_run_uses_the_configured_service_and_starts_nothing_of_its_own(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (
        worker_on(redis_server, photos.parent, tmp_path) as worker,
        started("run", "detect", photos, "--out", output, "--json", PIXELMILL_BROKER=redis_server.url) as run,
    ):
        until(lambda: finished_images(output) >= 5, "work has begun")
        of_the_run = descendants(run.pid)
        said, errors = run.communicate(timeout=90)
        survived = worker.is_running()

    assert run.returncode == 0, errors
    assert of_the_run == []
    assert survived
    assert json.loads(said)["done"] == IMAGES == len(results(output))
    assert left_behind(output) == []
    assert JobStore(redis_server.url).redis.keys("pixelmill:*") == []


def test_a_worker_killed_whole_is_replaced_by_another_within_ten_seconds(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    reference = pixelmill("run", "detect", photos, "--out", tmp_path / "reference")
    assert reference.returncode == 0, reference.stderr
    output = tmp_path / "out"
    with (
        worker_on(redis_server, photos.parent, tmp_path) as first,
        started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run,
    ):
        until(lambda: finished_images(output) >= 10, "work has begun")
        family = [first, *first.children(recursive=True)]
        with worker_on(redis_server, photos.parent, tmp_path):
            for process in family:
                process.suspend()
            store = JobStore(redis_server.url)
            job = next(iter(store.redis.keys("pixelmill:{*}"))).removeprefix("pixelmill:{").removesuffix("}")
            mine = {str(process.pid) for process in family}
            cut_off = {shard for shard, token in store.progress(job).live.items() if token.split(":")[1] in mine}
            for process in family:
                process.kill()
            killed_at = time.monotonic()
            until(
                lambda: (
                    not any(token.split(":")[1] in mine for token in store.progress(job).live.values())
                    and not (cut_off & store.messages(job).keys() - store.progress(job).live.keys())
                ),
                "what it had is taken over or done",
            )
            taken_over_after = time.monotonic() - killed_at
            _, errors = run.communicate(timeout=90)

    assert run.returncode == 0, errors
    assert taken_over_after < 10
    assert without_timings(results(output)) == without_timings(results(tmp_path / "reference"))
    assert left_behind(output) == []


def test_a_run_without_any_worker_says_what_it_waits_for(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    from threading import Thread

    output = tmp_path / "out"
    with started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run:
        said: list[str] = []
        assert run.stderr is not None
        reader = Thread(target=lambda: said.append(run.stderr.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(40)
        assert "waiting for a worker, `pixelmill worker` starts one" in "".join(said)
        with worker_on(redis_server, photos.parent, tmp_path):
            assert run.wait(90) == 0
    assert len(results(output)) == IMAGES


def test_an_interrupted_run_stops_the_service_from_working_on(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (
        worker_on(redis_server, photos.parent, tmp_path),
        started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run,
    ):
        until(lambda: finished_images(output) >= 10, "work has begun")
        run.terminate()
        run.communicate(timeout=30)
        kept = finished_images(output)
        store = JobStore(redis_server.url)
        until(lambda: store.redis.llen("pixelmill") == 0, "its messages are dropped")

    assert run.returncode == 130
    assert 10 <= kept < IMAGES
    assert finished_images(output) == kept


def test_a_killed_runs_job_is_not_worked_on_beside_the_one_that_continues_it(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with worker_on(redis_server, photos.parent, tmp_path):
        with started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run:
            until(lambda: finished_images(output) >= 10, "work has begun")
            orphan = json.loads((output / ".pixelmill" / "job.json").read_text())["spec"]["job"]
            run.kill()
            run.wait()
        done = pixelmill("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url)
        state = JobStore(redis_server.url).progress(orphan).state

    assert done.returncode == 0, done.stderr
    assert state == "cancelled"
    assert len(results(output)) == IMAGES


def test_a_service_that_may_not_touch_the_folders_says_so(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    with worker_on(redis_server, tmp_path):
        done = pixelmill("run", "detect", photos, "--out", tmp_path / "out", PIXELMILL_BROKER=redis_server.url)

    said = one_sentence(done)
    assert "lies outside the folders the worker may touch" in said
    assert "PIXELMILL_ROOTS" in said


def test_a_broker_that_dies_ends_the_run_and_the_same_command_continues(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (
        worker_on(redis_server, photos.parent, tmp_path) as worker,
        started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run,
    ):
        until(lambda: finished_images(output) >= 10, "work has begun")
        redis_server.kill()
        _, errors = run.communicate(timeout=60)
        redis_server.start()
        done = pixelmill("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url)
        survived = worker.is_running()

    assert run.returncode == 1
    assert "the broker went away" in errors
    assert "Traceback" not in errors
    assert done.returncode == 0, done.stderr
    assert survived
    assert len(results(output)) == IMAGES


def test_a_worker_ended_politely_finishes_its_shards_and_leaves_no_process(
    redis_server: RedisServer, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (
        worker_on(redis_server, photos.parent, tmp_path) as first,
        started("run", "detect", photos, "--out", output, PIXELMILL_BROKER=redis_server.url) as run,
    ):
        until(lambda: finished_images(output) >= 10, "work has begun")
        family = [first, *first.children(recursive=True)]
        first.terminate()
        until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, "the worker has ended")
        left = alive_of(family[1:])
        with worker_on(redis_server, photos.parent, tmp_path):
            _, errors = run.communicate(timeout=90)

    assert left == []
    assert run.returncode == 0, errors
    assert len(results(output)) == IMAGES
