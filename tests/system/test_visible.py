"""What one sees of a real worker whose broker has a password and goes away, and whose images kill: numbers and log."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.redis_server import BINARY, RedisServer, free_port
from tests.system.processes import PIXELMILL, drawn, environment, pixelmill, until
from tests.system.service import POISONABLE, QUEUE, finished, poisoned, submit
from workers.jobs import JobSpec
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
PASSWORD = "s3cret-of-the-broker"
NAMES = [f"{n}.jpg" for n in range(5)]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one worker's life. pages: `/live` and `/ready` while it worked."""

    spec: JobSpec
    samples: Samples
    pages: tuple[tuple[int, str], tuple[int, str]]
    log: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A worker of two processes: five pictures, one that is none, one that kills; then its broker is killed."""
    if BINARY is None:
        pytest.skip("no redis-server here; apt-get install redis-server")
    folder = tmp_path_factory.mktemp("visible")
    for seed, name in enumerate(NAMES):
        drawn(folder / "photos" / name, seed)
    (folder / "photos" / "no.jpg").write_bytes(b"no image")
    poisoned(folder / "photos" / "kill.jpg", "segv")
    server, port, log = RedisServer(folder / "redis", PASSWORD), free_port(), folder / "worker.log"
    server.start()
    options = ["--root", str(folder), "--processes", "2", "--threads", "1", "--metrics-port", str(port)]
    options += ["--log-format", "json", "--log-level", "DEBUG"]
    try:
        with logging_to(log, "worker", "--broker", server.url, *options, **POISONABLE) as process:
            roll = Roll(JobStore(server.url), QUEUE)
            until(lambda: roll.workers(), "the worker takes messages")
            pages = fetch(port, "/live"), fetch(port, "/ready")
            shards = [[*NAMES, "no.jpg"], ["kill.jpg"]]
            spec = submit(server, folder / "photos", folder / "out", shards)
            finished(server, spec)
            found = samples(port)
            server.kill()
            until(lambda: "Connection" in log.read_text(), "the worker notices that the broker is gone")
            process.terminate()
            process.wait(30)
        yield Seen(spec, found, pages, log.read_text())
    finally:
        server.stop()


@contextlib.contextmanager
def logging_to(log: Path, *words: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command with all it says in a file; a pipe nobody reads would stop it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*PIXELMILL, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(**variables)
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(port: int) -> Samples:
    """Every sample of `/metrics` by its name and labels, read with Prometheus' own parser."""
    _, text = fetch(port, "/metrics")
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def test_the_numbers_agree_with_the_results_whatever_process_died(seen: Seen) -> None:
    found = seen.samples
    classify = {"pipeline": "classify"}
    assert of(found, "pixelmill_images_total", **classify, outcome="ok") == 5
    assert of(found, "pixelmill_images_total", **classify, outcome="not_an_image") == 1
    assert of(found, "pixelmill_images_total", **classify, outcome="crashed") == 1
    for stage in ("decode", "preprocess", "session", "postprocess"):
        assert of(found, "pixelmill_stage_seconds_count", **classify, stage=stage) == 5
    assert of(found, "pixelmill_process_deaths_total", cause="killed by signal 11 (SIGSEGV)") == 3
    assert of(found, "pixelmill_attempts_total", **classify, outcome="done") == 2
    assert of(found, "pixelmill_queue_seconds_count", **classify, priority="normal") == 5  # two shards, three deaths
    assert of(found, "pixelmill_dead_letters") == 1
    assert of(found, "pixelmill_queue_shards", priority="normal") == 0
    loaded = [labels for (name, labels), value in found.items() if name == "pixelmill_models_loaded" and value]
    assert (
        frozenset({*classify.items(), ("model", "efficientnet-lite0"), ("provider", "CPUExecutionProvider")}) in loaded
    )
    assert (of(found, "pixelmill_worker_memory_bytes") or 0) > 50e6


def test_a_worker_says_over_http_that_it_lives_and_takes_messages(seen: Seen) -> None:
    assert seen.pages == ((200, "alive\n"), (200, "ready\n"))


def test_every_line_of_the_log_is_json_and_none_holds_the_password(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.log.splitlines()]

    assert len(lines) > 20
    assert PASSWORD not in seen.log


def test_lines_name_the_job_the_shard_and_the_image_they_are_about(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.log.splitlines()]
    of_the_image = [one for one in lines if one.get("image") == "no.jpg"]
    deaths = [one for one in lines if "its process was killed by signal 11" in one["message"]]
    ends = [one for one in lines if one["message"].startswith("attempt ")]

    assert [(one["job"], one["shard"]) for one in of_the_image] == [(seen.spec.job, "00000000")]
    assert of_the_image[0]["message"].startswith("not_an_image: ")
    assert [(one["job"], one["shard"]) for one in deaths] == [(seen.spec.job, "00000001")] * 3
    assert {(one["job"], one["shard"], one["message"]) for one in ends} == {
        (seen.spec.job, "00000000", "attempt 1: done, 5 images ok, 1 failed"),
        (seen.spec.job, "00000001", "attempt 4: done, 0 images ok, 1 failed"),
    }


def test_a_port_that_is_taken_is_one_sentence(redis_server: RedisServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pixelmill("worker", "--broker", redis_server.url, "--metrics-port", str(port), cwd=tmp_path)

    assert f"metrics can't be served on 127.0.0.1:{port}" in done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
