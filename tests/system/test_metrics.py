"""A worker's own web server: its numbers agree with the results."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.redis_server import RedisServer, free_port
from tests.system.processes import drawn, pixelmill
from tests.system.service import POISONABLE, finished, poisoned, submit, worker_on

pytestmark = pytest.mark.service
NAMES = [f"{n}.jpg" for n in range(5)]


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of `/metrics` by its name and labels, read with Prometheus' own parser."""
    _, text = fetch(port, "/metrics")
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def test_the_numbers_agree_with_the_results_whatever_process_died(redis_server: RedisServer, tmp_path: Path) -> None:
    for seed, name in enumerate(NAMES):
        drawn(tmp_path / "photos" / name, seed)
    (tmp_path / "photos" / "no.jpg").write_bytes(b"no image")
    poisoned(tmp_path / "photos" / "kill.jpg", "segv")
    port = free_port()
    with worker_on(redis_server, tmp_path, processes=2, PIXELMILL_METRICS_PORT=str(port), **POISONABLE):
        assert fetch(port, "/live") == (200, "alive\n")
        assert fetch(port, "/ready") == (200, "ready\n")
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [[*NAMES, "no.jpg"], ["kill.jpg"]])
        finished(redis_server, spec)
        found = samples(port)

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


def test_a_port_that_is_taken_is_one_sentence(redis_server: RedisServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pixelmill("worker", "--broker", redis_server.url, "--metrics-port", str(port), cwd=tmp_path)

    assert f"metrics can't be served on 127.0.0.1:{port}" in done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
