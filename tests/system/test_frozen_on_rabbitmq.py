"""A whole worker is frozen on RabbitMQ, its connections open and all: its peers run again what it had, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.processes import drawn, until
from tests.system.rabbitmq_service import Service, rabbitmq_service
from tests.system.service import QUEUE, attempts, finished, held_by, kill_whole, submit, worker_on
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service

IMAGES = 64
PROMISE = 10.0  # seconds until all that a lost worker had is begun again


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with rabbitmq_service(tmp_path_factory.mktemp("service")) as both:
        yield both


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for number in range(IMAGES):
        drawn(folder / "photos" / f"{number:03}.jpg", seed=number)
    return folder


@pytest.fixture(scope="module")
def peer(service: Service, place: Path) -> Iterator[psutil.Process]:
    with worker_on(service, place, log_level="ERROR", **service.variables) as process:
        yield process


@pytest.mark.usefixtures("peer")
def test_the_shard_a_frozen_worker_worked_on_is_begun_again_within_ten_seconds(service: Service, place: Path) -> None:
    names = sorted(path.name for path in (place / "photos").iterdir())
    with worker_on(service, place, **service.variables) as victim:
        shards = [names[start : start + 16] for start in range(0, IMAGES, 16)]
        spec = submit(service, place / "photos", place / "out" / "work", shards)
        lost = until(lambda: held_by(service, spec, victim), "the victim works")
        for process in (victim, *victim.children(recursive=True)):
            process.suspend()
        until(lambda: all(attempts(service, spec).get(shard, 9) > 1 for shard in lost), "begun again", PROMISE)
        lines = finished(service, spec)

    assert sorted(lines) == names


@pytest.mark.usefixtures("peer")
def test_what_a_frozen_worker_had_and_had_not_begun_is_done_within_ten_seconds(service: Service, place: Path) -> None:
    names = sorted(path.name for path in (place / "photos").iterdir())[:12]
    roll = Roll(JobStore(service.url), QUEUE)
    with worker_on(service, place, **service.variables) as victim:
        for child in victim.children():
            child.suspend()  # its parent takes messages that no child of it will begin
        spec = submit(service, place / "photos", place / "out" / "held", [[name] for name in names])
        until(
            lambda: any(one.busy for one in roll.workers() if one.name.startswith(f"pixelmill-{victim.pid}@")),
            "the victim has messages",
        )
        victim.suspend()
        lines = finished(service, spec, PROMISE)
        kill_whole(victim)

    assert sorted(lines) == names
