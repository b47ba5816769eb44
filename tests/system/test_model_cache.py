"""Two models by turns on a real worker of one process: what its metrics say was loaded, put out and is held."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.catalog import SHIPPED
from tests.redis_server import free_port
from tests.system.processes import drawn, started_worker, until
from workers import Client
from workers.embedded import EmbeddedBroker
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
TURNS = 5
MODELS = {"classify": "efficientnet-lite0", "detect": "ssd-mobilenet-v2"}


@contextmanager
def worker(folder: Path, **variables: str) -> Iterator[tuple[Client, int]]:
    """A client of a worker with one process, and the port of its metrics."""
    broker, port = EmbeddedBroker(folder / "valkey"), free_port()
    try:
        options = ["--root", str(folder), "--processes", "1", "--threads", "1", "--metrics-port", str(port)]
        with started_worker("--broker", broker.url, *options, **variables):
            roll = Roll(JobStore(broker.url), "pixelmill")
            until(lambda: roll.workers(), "the worker takes messages")
            yield Client(broker.url), port
    finally:
        broker.stop()


def by_turns(client: Client, picture: Path) -> None:
    for _ in range(TURNS):
        for pipeline in MODELS:
            assert client.run(pipeline, picture)["status"] == "ok"


def samples(port: int, name: str) -> dict[str, float]:
    """The values of a metric by model."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {one.labels["model"]: one.value for family in families for one in family.samples if one.name == name}


def test_two_models_that_fit_are_loaded_once_each_and_their_bytes_are_told(tmp_path: Path) -> None:
    with worker(tmp_path) as (client, port):
        by_turns(client, drawn(tmp_path / "a.jpg"))
        loads, held = samples(port, "pixelmill_model_loads_total"), samples(port, "pixelmill_model_bytes")
        evictions = samples(port, "pixelmill_model_evictions_total")

    assert loads == dict.fromkeys(MODELS.values(), 1)
    assert evictions == {}
    assert held.keys() == loads.keys()
    assert all(size >= (SHIPPED / f"{model}.onnx").stat().st_size for model, size in held.items())


def test_a_budget_too_small_for_two_holds_the_one_used_last(tmp_path: Path) -> None:
    with worker(tmp_path, PIXELMILL_MODEL_MEMORY="30") as (client, port):
        by_turns(client, drawn(tmp_path / "a.jpg"))
        loads, held = samples(port, "pixelmill_model_loads_total"), samples(port, "pixelmill_model_bytes")
        evictions = samples(port, "pixelmill_model_evictions_total")

    assert loads == dict.fromkeys(MODELS.values(), TURNS)
    assert evictions == {"efficientnet-lite0": TURNS, "ssd-mobilenet-v2": TURNS - 1}
    assert held.keys() == {"ssd-mobilenet-v2"}
