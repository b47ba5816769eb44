"""With RabbitMQ as the broker: a job's limit of processes holds, and a client that is closed leaves no connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.processes import drawn, results, started_worker, until
from tests.system.rabbitmq_service import Service, rabbitmq_service
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
IMAGES, PROCESSES = 30, 4


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with rabbitmq_service(tmp_path) as both:
        yield both


def connections(*ports: int) -> int:
    """How many connections of this process lead to these ports."""
    mine = psutil.Process().net_connections(kind="tcp")
    return sum(1 for one in mine if one.raddr and one.raddr.port in ports and one.status == psutil.CONN_ESTABLISHED)


def test_a_limit_holds_and_a_closed_client_leaves_no_connection(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_SHARD_IMAGES", "1")
    for seed in range(IMAGES):
        drawn(tmp_path / "photos" / f"{seed}.jpg", seed)
    options = ["--root", str(tmp_path), "--processes", str(PROCESSES), "--threads", "1"]
    store, most = JobStore(service.url), 0
    with started_worker("--broker", service.broker, *options, PIXELMILL_STORE=service.url):
        roll = Roll(store, "pixelmill")
        until(lambda: any(len(one.members) == PROCESSES for one in roll.workers()), "four processes are there")
        with service.client as client:
            job = client.submit("classify", tmp_path / "photos", output=tmp_path / "out", concurrency=1)
            client.run("classify", tmp_path / "photos" / "1.jpg")

            def ended() -> bool:
                nonlocal most
                for _ in range(20):
                    most = max(most, len(store.progress(job).live))
                return client.status(job).has_ended

            until(ended, "the job has ended")
            state = client.status(job).state
            while_open = connections(service.rabbit.port)
        afterwards = connections(service.rabbit.port)

    assert (state, len(results(tmp_path / "out"))) == ("done", IMAGES)
    assert most == 1
    assert while_open >= 1
    assert afterwards == 0
