"""Readiness over a real web server, and the folder of a worker's numbers."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.processes import ROOT, environment
from workers.roll import STALE_SECONDS, UNPOLLED_SECONDS, Pulse, Worker
from workers.store import JobStore

READY = Worker("pixelmill-1@here", 0.0, idle_for=0.0, processes=2, busy=1, memory_mb=100.0)


@pytest.fixture
def port(store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(Pulse, "worker", None)
    from workers.exporter import Exporter

    exporter = Exporter("127.0.0.1", 0, store.url, "pixelmill")
    exporter.start()
    yield exporter.port
    exporter.stop()


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def turned(monkeypatch: pytest.MonkeyPatch, worker: Worker, ago: float) -> None:
    monkeypatch.setattr(Pulse, "worker", worker)
    monkeypatch.setattr(Pulse, "at", time.monotonic() - ago)


def test_a_worker_is_ready_once_its_loop_has_turned(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fetch(port, "/ready")
    turned(monkeypatch, READY, ago=0.0)
    after = fetch(port, "/ready")

    assert before == (503, "the consume loop has not turned yet\n")
    assert after == (200, "ready\n")
    assert "pixelmill_worker_ready 1.0" in fetch(port, "/metrics")[1]


@pytest.mark.parametrize(
    ("idle_for", "ago"), [(0.0, STALE_SECONDS + 1), (UNPOLLED_SECONDS + 1, 0.0)], ids=["no turn", "no look"]
)
def test_a_worker_whose_loop_stands_is_alive_and_not_ready(
    port: int, monkeypatch: pytest.MonkeyPatch, idle_for: float, ago: float
) -> None:
    turned(monkeypatch, Worker("w", 0.0, idle_for, 2, 0), ago)

    status, said = fetch(port, "/ready")

    assert status == 503
    assert f"last turned {ago:.0f} s ago" in said
    assert f"{idle_for:.0f} s before that" in said
    assert fetch(port, "/live") == (200, "alive\n")
    assert "pixelmill_worker_ready 0.0" in fetch(port, "/metrics")[1]


def test_a_store_that_is_away_is_said_and_takes_no_number_of_the_workers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    turned(monkeypatch, READY, ago=0.0)
    from workers.exporter import Exporter

    exporter = Exporter("127.0.0.1", 0, f"redis+socket://{tmp_path}/none.sock", "pixelmill")
    exporter.start()
    _, text = fetch(exporter.port, "/metrics")
    exporter.stop()

    assert "pixelmill_store_up 0.0" in text
    assert "pixelmill_worker_memory_bytes 1.048576e+08" in text
    assert "pixelmill_queue_shards" not in text


def test_the_numbers_of_a_worker_that_was_killed_are_swept_by_the_next(tmp_path: Path) -> None:
    make = "from workers.metrics import make_folder; print(make_folder(), flush=True); "

    def run(ends: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-c", f"import os; {make}{ends}"], capture_output=True, text=True, check=False,
            env=environment(TMPDIR=str(tmp_path)), cwd=ROOT,
        )  # fmt: skip
        return Path(done.stdout.strip())

    killed = run("os.kill(os.getpid(), 9)")
    left_by_the_kill = killed.is_dir()
    ended_well = run("")

    assert left_by_the_kill
    assert killed.name.startswith("pixelmill-metrics-")
    assert ended_well != killed
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_just_being_made_costs_one_scrape_and_not_the_server(port: int, tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()
    early = fetch(port, "/metrics")
    (tmp_path / "counter_1.db").unlink()

    assert early == (503, "a process is just beginning, ask again\n")
    assert fetch(port, "/metrics")[0] == 200
