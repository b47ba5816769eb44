from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.processes import until
from workers.commands.health import check_that_it_polls
from workers.embedded import EmbeddedBroker
from workers.errors import WorkerError
from workers.store import JobStore

START_SECONDS = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    embedded = EmbeddedBroker(tmp_path / "broker")
    yield embedded
    embedded.stop()


def environment(broker_url: str | None, **more: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_")}
    return {**env, **({"PIXELMILL_BROKER": broker_url} if broker_url else {}), **more}


def health(broker_url: str | None, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", "health", *arguments],
        env=environment(broker_url, **more), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def worker(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "worker", "--processes", "1", "--root", str(tmp_path)],
            env=environment(broker.url), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_healthy(broker_url: str) -> subprocess.CompletedProcess[str]:
    deadline = time.monotonic() + START_SECONDS
    while (answer := health(broker_url, "--timeout", "1")).returncode != 0 and time.monotonic() < deadline:
        pass
    return answer


def test_without_a_broker_there_is_nothing_to_ask() -> None:
    answer = health(None)

    assert answer.returncode == 1
    assert answer.stderr == "error: there is no broker to ask: set PIXELMILL_BROKER or give --broker\n"


def test_a_broker_that_does_not_answer_is_unhealthy_and_its_password_stays_secret() -> None:
    answer = health("redis://:secret@127.0.0.1:1/0")

    assert answer.returncode == 1
    assert "can't be reached" in answer.stderr
    assert "secret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_broker_without_a_worker_is_unhealthy(broker: EmbeddedBroker) -> None:
    answer = health(broker.url, "--timeout", "0.3")

    assert answer.returncode == 1
    assert "no worker on" in answer.stderr
    assert "answered within 0.3 s" in answer.stderr


def test_a_worker_is_healthy_until_it_hangs(broker: EmbeddedBroker, worker: subprocess.Popen[bytes]) -> None:
    before = wait_until_healthy(broker.url)
    os.killpg(worker.pid, signal.SIGSTOP)
    frozen = health(broker.url, "--timeout", "0.5")
    os.killpg(worker.pid, signal.SIGCONT)
    after = wait_until_healthy(broker.url)

    assert before.returncode == 0
    assert "takes shards from queue 'pixelmill'" in before.stdout
    assert frozen.returncode == 1
    assert after.returncode == 0


def test_a_worker_of_another_queue_is_unhealthy(broker: EmbeddedBroker, worker: subprocess.Popen[bytes]) -> None:
    assert wait_until_healthy(broker.url).returncode == 0

    answer = health(broker.url, "--timeout", "0.5", PIXELMILL_QUEUE="other")

    assert answer.returncode == 1
    assert "takes nothing from queue 'other'" in answer.stderr


def test_a_worker_that_answers_but_takes_nothing_is_unhealthy(
    broker: EmbeddedBroker, worker: subprocess.Popen[bytes]
) -> None:
    # a consume loop that turns without polling can't be made at will, so the worker's own word is bent
    assert wait_until_healthy(broker.url).returncode == 0
    redis = JobStore(broker.url).redis
    key = "pixelmill-service:pixelmill:workers"
    (name,) = until(lambda: redis.hgetall(key), "the worker has made its first round")
    os.killpg(worker.pid, signal.SIGSTOP)
    said = {**json.loads(redis.hget(key, name)), "idle_for": 30.0}
    redis.hset(key, name, json.dumps(said))

    with pytest.raises(WorkerError, match="last looked into the queue 30 s before"):
        check_that_it_polls(JobStore(broker.url), "pixelmill", name)
    os.killpg(worker.pid, signal.SIGCONT)
