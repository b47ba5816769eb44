"""Folders of old jobs go, those of jobs that run or were asked for lately stay; with a real gateway and service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from tests.system.gateways import Gateway
from tests.system.processes import drawn, until
from workers import Client, connect
from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError, UnknownJobError
from workers.gateway.records import Record, Records
from workers.gateway.sweeping import sweep
from workers.output import claim_output
from workers.registry import Registry
from workers.store import JobStore

pytestmark = pytest.mark.service
WEEK = 7 * 24 * 3600.0


class Desk:
    """A gateway's records before a service without workers, so that a job runs as long as one wants."""

    def __init__(self, folder: Path, url: str) -> None:
        self.data = folder / "data"
        self.records, self.client = Records(self.data), Client(url)
        self._photo = drawn(folder / "a.jpg")

    def job(self, ticket: str, age: float = 2 * WEEK) -> Record:
        """A job whose folder has not changed for so many seconds."""
        folder = self.records.folder(ticket)
        with self.records.held(ticket):
            drawn(folder / "inputs" / "a.jpg")
            job = self.client.submit("classify", folder / "inputs", output=folder / "results", key=ticket)
            record = Record(job=job, ticket=ticket, owner="me", asked="x")
            self.records.keep(record)
        self.age(ticket, age)
        return record

    def age(self, ticket: str, seconds: float) -> None:
        folder, then = self.records.folder(ticket), time.time() - seconds
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (then, then))

    def end(self, record: Record, ago: float) -> None:
        """End a job, and let that be so many seconds ago."""
        self.client.cancel(record.job)
        store = JobStore(self.client._store.url)
        store.redis.hset(store._keys(record.job)[0], "ended", Registry(store).now() - ago)
        self.age(record.ticket, ago)

    def sweep(self, keep: float = WEEK) -> list[str]:
        """Sweep, and give the folders that are left."""
        sweep(self.records, self.client, keep)
        return list(self.records.tickets())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    broker = EmbeddedBroker(tmp_path / "valkey")
    yield Desk(tmp_path, broker.url)
    broker.stop()


def test_a_job_that_ended_long_ago_goes_with_uploads_results_and_record(desk: Desk) -> None:
    old, new = desk.job("old"), desk.job("new")
    desk.end(old, 1.1 * WEEK)
    desk.end(new, 0.9 * WEEK)
    desk.age("new", 2 * WEEK)  # only the service knows that it ended lately

    assert desk.sweep() == ["new"]
    assert desk.records.tickets() == {"new": [new.job]}
    assert [path.name for path in (desk.data / "index").iterdir()] == [new.job]
    assert desk.records.of_ticket("old") is None


def test_a_job_that_runs_is_never_touched_however_old_its_folder_looks(desk: Desk) -> None:
    record = desk.job("running")

    assert desk.sweep(keep=0.0) == ["running"]
    assert (desk.records.folder("running") / "inputs" / "a.jpg").exists()
    assert desk.client.status(record.job).state == "pending"


def test_a_folder_whose_job_was_tried_again_stays_as_long_as_that_one_runs(desk: Desk) -> None:
    record = desk.job("again")
    desk.end(record, 2 * WEEK)
    desk.client.retry(record.job)  # its gateway died before it noted that
    desk.age("again", 2 * WEEK)

    assert desk.sweep() == ["again"]


def test_a_job_the_service_has_forgotten_is_as_old_as_its_folder(desk: Desk) -> None:
    old, new = desk.job("old"), desk.job("new", age=0.5 * WEEK)
    for record in (old, new):
        Registry(JobStore(desk.client._store.url)).forget(record.job)

    assert desk.sweep() == ["new"]


def test_an_upload_that_never_became_a_job_goes_and_one_that_comes_in_stays(desk: Desk) -> None:
    for ticket in ("left", "coming"):
        drawn(desk.records.folder(ticket) / "inputs" / "a.jpg")
        desk.age(ticket, 2 * WEEK)
    (desk.records.folder("coming") / "claim").touch()

    assert desk.sweep() == ["coming"]


def test_a_folder_that_a_job_holds_stays(desk: Desk) -> None:
    record = desk.job("held")
    desk.end(record, 2 * WEEK)
    with claim_output(desk.records.folder("held") / "results"):
        desk.age("held", 2 * WEEK)
        while_held = desk.sweep()
    desk.age("held", 2 * WEEK)

    assert while_held == ["held"]
    assert desk.sweep() == []


def test_a_folder_that_can_not_be_removed_holds_up_no_other(desk: Desk, tmp_path: Path) -> None:
    for ticket in ("a", "b"):
        desk.end(desk.job(ticket), 2 * WEEK)
    linked = desk.records.folder("a").rename(tmp_path / "larger-disk")  # a link is not removed with what it leads to
    desk.records.folder("a").symlink_to(linked)

    assert desk.sweep() == ["a"]
    assert (linked / "inputs" / "a.jpg").exists()


def test_nothing_goes_while_the_service_does_not_answer(desk: Desk, tmp_path: Path) -> None:
    record = desk.job("old")
    desk.end(record, 2 * WEEK)

    with pytest.raises(BrokerError):
        sweep(desk.records, Client(f"redis+socket://{tmp_path}/none.sock"), WEEK)

    assert desk.records.tickets() == {"old": [record.job]}
    assert desk.records.of_ticket("old") is not None


def test_a_gateway_removes_what_is_older_than_it_was_told_to_keep_and_says_so(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "--keep-days", "0.00004")  # three and a half seconds
    try:
        client = connect(gateway.url)
        job = client.submit("classify", drawn(tmp_path / "a.jpg"))
        results = len(list(client.results(job)))
        until(lambda: not list((gateway.data / "jobs").iterdir()), "the job's folder is gone")
        with pytest.raises(UnknownJobError):
            client.status(job)
        index = list((gateway.data / "index").iterdir())
    finally:
        gateway.stop()

    assert results == 1
    assert index == []
