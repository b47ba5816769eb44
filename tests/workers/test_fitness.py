"""When a worker takes itself out, and when it comes back; against a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from workers.commands.health import check_that_it_is_fit
from workers.embedded import EmbeddedBroker
from workers.errors import WorkerError
from workers.exporter import readiness
from workers.fitness import FIRST_PAUSE_SECONDS, IN_A_ROW, LONGEST_PAUSE_SECONDS, Fitness, Reports
from workers.roll import Pulse, Roll, Worker
from workers.store import JobStore


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobStore]:
    embedded = EmbeddedBroker(tmp_path_factory.mktemp("fitness") / "broker")
    yield JobStore(embedded.url)
    embedded.stop()


@pytest.fixture
def reports(store: JobStore, request: pytest.FixtureRequest) -> Reports:
    return Reports(store, request.node.name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sick(reports: Reports, clock: Clock) -> Fitness:
    """A worker that has begun."""
    fitness = Fitness(reports, "sick", clock)
    assert fitness.look(other_is_ready=True) is None
    return fitness


def fails(reports: Reports, times: int, worker: str = "sick") -> None:
    for _ in range(times):
        reports.failed(worker, "job", "the disk is full")


def test_it_leaves_after_some_failures_in_a_row_if_another_managed_the_same_job(
    reports: Reports, sick: Fitness
) -> None:
    fails(reports, IN_A_ROW - 1)
    reports.managed("healthy", "job")
    before = sick.look(other_is_ready=True)
    fails(reports, 1)

    assert before is None
    assert sick.look(other_is_ready=True) == "leave"
    assert sick.reason == "the disk is full"


def test_what_nobody_manages_or_only_another_job_is_no_reason_to_leave(reports: Reports, sick: Fitness) -> None:
    fails(reports, 2 * IN_A_ROW)
    fails(reports, 2 * IN_A_ROW, "healthy")
    reports.managed("healthy", "another job")

    assert sick.look(other_is_ready=True) is None


def test_the_last_worker_never_leaves(reports: Reports, sick: Fitness) -> None:
    fails(reports, 2 * IN_A_ROW)
    reports.managed("healthy", "job")

    assert sick.look(other_is_ready=False) is None


def test_a_success_ends_the_row(reports: Reports, sick: Fitness) -> None:
    reports.managed("healthy", "job")
    fails(reports, IN_A_ROW - 1)
    reports.managed("sick", "job")
    fails(reports, IN_A_ROW - 1)

    assert sick.look(other_is_ready=True) is None


def test_it_tries_again_after_pauses_that_grow_and_one_failure_is_enough_then(
    reports: Reports, sick: Fitness, clock: Clock
) -> None:
    fails(reports, IN_A_ROW)
    reports.managed("healthy", "job")
    pauses = []
    for _ in range(8):
        assert sick.look(other_is_ready=True) == "leave"
        left = clock.now
        while sick.look(other_is_ready=True) is None:
            clock.now += 1
        pauses.append(clock.now - left)
        fails(reports, 1)

    assert pauses == [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(8)]


def test_it_returns_at_once_if_nobody_else_is_left(reports: Reports, sick: Fitness) -> None:
    fails(reports, IN_A_ROW)
    reports.managed("healthy", "job")
    sick.look(other_is_ready=True)

    assert sick.look(other_is_ready=False) == "return"
    assert sick.reason == ""


def test_a_worker_that_has_just_begun_knows_nothing_of_an_earlier_one_of_its_name(reports: Reports) -> None:
    fails(reports, IN_A_ROW)
    reports.managed("healthy", "job")

    assert Fitness(reports, "sick").look(other_is_ready=True) is None


def test_health_and_readiness_say_why_a_worker_is_out(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"idle_for": 0.0, "processes": 1, "busy": 0, "unfit": "the disk is full"}
    roll = Roll(store, "health")
    roll.answer("pixelmill-1@here", about)
    monkeypatch.setattr(Pulse, "worker", Worker.of("pixelmill-1@here", 0.0, about))
    monkeypatch.setattr(Pulse, "at", time.monotonic())

    assert readiness() == "it has taken itself out: the disk is full"
    with pytest.raises(WorkerError, match="has taken itself out, it failed where others managed: the disk is full"):
        check_that_it_is_fit(store, "health", "here")
    check_that_it_is_fit(store, "health", "elsewhere")
    roll.answer("pixelmill-2@here", {**about, "unfit": ""})
    check_that_it_is_fit(store, "health", "here")
