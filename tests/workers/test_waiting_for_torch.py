"""Shards that only a worker with PyTorch can do are counted with all others."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.system.processes import ROOT, environment
from tests.workers.test_exporter import port
from tests.workers.test_jobs import a_spec
from workers import Client, metrics
from workers.errors import QueueFullError
from workers.jobs import JobSpec
from workers.queues import WAITING
from workers.registry import Registry
from workers.store import JobStore

QUEUE = "pixelmill"

__all__ = ["port"]  # a fixture


@pytest.fixture
def spec(store: JobStore) -> JobSpec:
    """A job of which two shards wait for torch."""
    spec = a_spec(pipeline="optimise")
    Registry(store).create(spec, "photos/", "client")
    for shard in ("00000000", "00000001"):
        store.open(spec.job, shard, "{}")
    return spec


def test_they_count_against_the_limit_of_the_queue(store: JobStore, spec: JobSpec) -> None:
    store.check_room(QUEUE, 3)
    with pytest.raises(QueueFullError, match="2 shards wait, 2 may"):
        store.check_room(QUEUE, 2)


def test_a_client_is_told_of_them(store: JobStore, spec: JobSpec) -> None:
    with Client(store.url) as client:
        waiting = client.waiting()
        store.forget(spec.job)
        afterwards = client.waiting()

    assert waiting == {"high": 0, "normal": 0, "bulk": 0, "for torch": 2}
    assert set(afterwards) == {"high", "normal", "bulk"}


def test_they_stand_in_a_workers_metrics_with_the_age_of_the_oldest(
    store: JobStore, spec: JobSpec, port: int
) -> None:  # fmt: skip
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    assert 'pixelmill_queue_shards{priority="torch-normal"} 2.0' in text
    assert 'pixelmill_queue_shards{priority="normal"} 0.0' in text
    assert store.oldest_waiting(QUEUE, WAITING).keys() == {"torch-normal"}
    assert store.oldest_waiting(QUEUE) == {}


def test_how_long_they_waited_is_timed_under_their_priority(store: JobStore, spec: JobSpec, tmp_path: Path) -> None:
    code = f"""
from workers import metrics
from workers.jobs import JobSpec
from workers.store import JobStore
metrics.waited(JobStore({store.url!r}), {QUEUE!r}, JobSpec.model_validate_json({spec.model_dump_json()!r}), "00000000")
(family,) = metrics.meter().queue.collect()
print(*(one.value for one in family.samples if one.name.endswith("_count") and one.labels["priority"] == "normal"))
"""
    env = environment(**{metrics.FOLDER: str(tmp_path)})

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT)

    assert done.stdout.split() == ["1.0"]
