"""Client, worker and server killed at once, again and again, as if the machine had died: what was confirmed is done."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.processes import (
    broker_of,
    drawn,
    finished_images,
    left_behind,
    pixelmill,
    results,
    started,
    until,
    without_timings,
    worker_of,
)
from tests.system.service import kill_whole, worker_on
from workers import Client

pytestmark = pytest.mark.service

IMAGES = 60
ROUNDS = 3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(IMAGES):
        drawn(tmp_path / "photos" / f"{number:03}.jpg", seed=number)
    return tmp_path / "photos"


def test_a_service_killed_whole_at_any_moment_does_all_it_had_confirmed(
    redis_server: RedisServer, tmp_path: Path, photos: Path
) -> None:
    rng, client = random.Random(6), Client(redis_server.url)
    variables = {"PIXELMILL_BROKER": redis_server.url}
    with worker_on(redis_server, tmp_path):
        client.wait(client.submit("classify", photos, output=tmp_path / "calm", overlays=False), timeout=90)
    confirmed = {client.submit("classify", photos, output=tmp_path / "first", overlays=False): tmp_path / "first"}

    for number in range(ROUNDS):
        out = tmp_path / f"more-{number}"
        words = ["submit", "classify", photos, "--out", out, "--no-overlays"]
        with worker_on(redis_server, tmp_path) as worker, started(*words, **variables) as submitting:
            goal = finished_images(tmp_path / "first") + rng.randint(4, 15)
            until(lambda goal=goal: finished_images(tmp_path / "first") >= min(goal, IMAGES), "work goes on")
            if rng.random() < 0.5:
                until(lambda one=submitting: one.poll() is not None, "it is submitted")
            submitting.kill()
            kill_whole(worker)
            redis_server.kill()
            said = submitting.communicate()[0]
        if submitting.returncode == 0:
            confirmed[said.strip().splitlines()[-1]] = out
        redis_server.start()

    with worker_on(redis_server, tmp_path):
        states = [client.wait(job, timeout=90).state for job in confirmed]

    calm = without_timings(results(tmp_path / "calm"))
    assert set(states) == {"done"}
    assert len(calm) == IMAGES
    for out in confirmed.values():
        assert without_timings(results(out)) == calm
        assert left_behind(out) == []


@pytest.mark.parametrize("kept", ["beside its results", "in a folder of the user's choice"])
def test_a_run_killed_whole_at_any_moment_is_completed_by_the_same_command(
    kept: str, tmp_path: Path, photos: Path
) -> None:
    rng = random.Random(7)
    variables = {} if kept == "beside its results" else {"PIXELMILL_EMBEDDED_DATA": str(tmp_path / "data")}
    words = ["run", "classify", photos, "--no-overlays", "--out"]
    calm = pixelmill(*words, tmp_path / "calm")
    out = tmp_path / "out"

    for _ in range(ROUNDS):
        with started(*words, out, **variables) as run:
            goal = finished_images(out) + rng.randint(3, 12)
            until(lambda goal=goal: finished_images(out) >= min(goal, IMAGES), "work goes on")
            worker, broker = worker_of(run.pid), broker_of(run.pid)
            assert worker is not None
            assert broker is not None
            run.kill()
            kill_whole(worker)
            broker.kill()
    last = pixelmill(*words, out, **variables)

    assert calm.returncode == last.returncode == 0, last.stderr
    assert without_timings(results(out)) == without_timings(results(tmp_path / "calm"))
    assert left_behind(out) == []
    assert list((tmp_path / "data").glob("*/*")) == []
