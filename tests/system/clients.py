"""A service with the embedded Valkey and one worker, and a client of it: fixtures for the modules that import them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.processes import (
    PIXELMILL,
    descendants,
    environment,
    photographs,
    pixelmill,
    results,
    until,
    without_timings,
)
from workers import Client
from workers.embedded import EmbeddedBroker

IMAGES = 40
PATIENCE = 90.0


@contextlib.contextmanager
def worker_on(url: str, root: Path, **variables: str) -> Iterator[psutil.Process]:
    """A worker with its log in a file: nobody reads a pipe as long as many tests."""
    words = [*PIXELMILL, "worker", "--broker", url, "--root", str(root), "--processes", "2"]
    with (root / "worker.log").open("ab") as log:
        env = environment(**variables)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        until(lambda: len(descendants(process.pid)) >= 2 or process.poll() is not None, "the worker has its children")
        assert process.poll() is None
        yield psutil.Process(process.pid)
    finally:
        everyone = descendants(process.pid)
        process.kill()
        process.wait()
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder the worker may touch, with `photos/` in it."""
    folder = tmp_path_factory.mktemp("client")
    photographs(folder / "photos", IMAGES)
    return folder


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """A service: the embedded Valkey and one worker."""
    broker = EmbeddedBroker(place / "valkey")
    with worker_on(broker.url, place):
        yield broker.url
    broker.stop()


@pytest.fixture
def client(url: str) -> Client:
    return Client(url)


@pytest.fixture
def output(place: Path, request: pytest.FixtureRequest) -> Path:
    return place / "out" / request.node.name


@pytest.fixture(scope="module")
def expected(place: Path) -> dict[str, dict[str, object]]:
    """What `run` gives."""
    done = pixelmill("run", "classify", place / "photos", "--out", place / "expected")
    assert done.returncode == 0, done.stderr
    return without_timings(results(place / "expected"))
