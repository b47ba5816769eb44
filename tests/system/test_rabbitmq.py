"""RabbitMQ as the broker, with the state in Redis: real servers, real workers, and all that kills them."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import amqp
import psutil
import pytest

from tests.system.fitness import limit_files, taken_out
from tests.system.processes import (
    drawn,
    finished_images,
    left_behind,
    one_sentence,
    pixelmill,
    results,
    until,
)
from tests.system.rabbitmq_service import Service, rabbitmq_service
from tests.system.service import POISONABLE, QUEUE, finished, held_by, kill_whole, poisoned, submit, worker_on
from workers import Client
from workers.errors import BrokerError
from workers.queues import all_queues
from workers.store import JobStore

pytestmark = pytest.mark.service

IMAGES = 16
PATIENCE = 90.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with rabbitmq_service(tmp_path_factory.mktemp("service")) as both:
        yield both


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder the worker may touch, with `photos/` in it."""
    folder = tmp_path_factory.mktemp("place")
    for number in range(IMAGES):
        drawn(folder / "photos" / f"{number:03}.jpg", seed=number)
    return folder


@pytest.fixture(scope="module")
def worker(service: Service, place: Path) -> Iterator[psutil.Process]:
    """One process; it outlives what the tests do to the broker and to its children."""
    with worker_on(service, place, log_level="ERROR", **service.variables, **POISONABLE) as process:
        yield process


@pytest.fixture
def output(place: Path, request: pytest.FixtureRequest) -> Path:
    return place / "out" / request.node.name


def lines_of(output: Path) -> list[str]:
    """The images of all result lines: one that is computed twice would be here twice."""
    return [json.loads(line)["image"] for line in (output / "results.jsonl").read_text().splitlines()]


def test_the_most_urgent_goes_first_whatever_came_first(
    service: Service, place: Path, output: Path, request: pytest.FixtureRequest
) -> None:
    names = sorted(path.name for path in (place / "photos").iterdir())
    shards = [names[start : start + 4] for start in range(0, 12, 4)]
    bulk, normal, high = (
        submit(service, place / "photos", output / priority, shards, priority=priority)
        for priority in ("bulk", "normal", "high")
    )
    store = JobStore(service.url)
    request.getfixturevalue("worker")  # this is the first test: nobody has worked until now
    # one image may be in work before the first urgent message has come
    until(lambda: (done := store.progress(bulk.job)).ok + done.partly > 2, "the bulk job is at work")
    left = store.progress(high.job).open, store.progress(normal.job).open
    lines = [finished(service, spec) for spec in (bulk, normal, high)]

    assert left == (0, 0)
    assert [len(each) for each in lines] == [12, 12, 12]


@pytest.mark.usefixtures("worker")
def test_a_job_goes_through_submit_worker_and_results(service: Service, place: Path, output: Path) -> None:
    submitted = pixelmill("submit", "classify", place / "photos", "--out", output, **service.variables)
    job = submitted.stdout.strip().splitlines()[-1]
    read = pixelmill("results", job, **service.variables)
    healthy = pixelmill("health", **service.variables)
    picture = service.client.run("classify", place / "photos" / "000.jpg")
    state, status = service.client.status(job).state, service.client.service()

    assert submitted.returncode == read.returncode == healthy.returncode == 0, submitted.stderr + healthy.stderr
    assert sorted(json.loads(line)["image"] for line in read.stdout.splitlines()) == sorted(results(output))
    assert (state, len(lines_of(output)), picture["status"]) == ("done", IMAGES, "ok")
    assert left_behind(output) == []
    assert status.server.startswith("RabbitMQ, state in Redis")
    assert status.broker.startswith("amqp://guest:***@")


def test_the_queues_are_durable_quorum_queues_and_there_are_no_others(service: Service) -> None:
    with amqp.Connection(f"127.0.0.1:{service.rabbit.port}", "guest", "guest") as connection:
        for name in all_queues(QUEUE):
            with pytest.raises(amqp.PreconditionFailed, match="x-queue-type"):
                connection.channel().queue_declare(name, durable=True, auto_delete=False)
        with pytest.raises(amqp.NotFound):
            connection.channel().queue_declare("celery_delayed_0", passive=True)


@pytest.mark.usefixtures("worker")
def test_a_shard_whose_message_was_never_published_is_found(
    service: Service, place: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as a feeder that is killed between the store and the broker leaves it
    monkeypatch.setattr("tests.system.service.publish", lambda *_: None)
    spec = submit(service, place / "photos", output, [["000.jpg"]])

    assert list(finished(service, spec)) == ["000.jpg"]


@pytest.mark.usefixtures("worker")
def test_what_a_killed_worker_had_is_done_by_another_and_every_result_is_there_once(
    service: Service, place: Path, output: Path
) -> None:
    with worker_on(service, place, **service.variables) as victim:
        job = service.client.submit("detect", place / "photos", output=output)
        store = JobStore(service.url)
        mine = {str(child.pid) for child in victim.children()}
        until(lambda: mine & {held.split(":")[1] for held in store.progress(job).live.values()}, "the victim works")
        kill_whole(victim)
        status = service.client.wait(job, timeout=PATIENCE)

    assert (status.state, status.finished, status.failed) == ("done", IMAGES, 0)
    assert sorted(lines_of(output)) == sorted(path.name for path in (place / "photos").iterdir())


@pytest.mark.usefixtures("worker")
def test_a_job_of_nothing_but_an_image_that_kills_is_dead_and_tried_again_when_it_is_mended(
    service: Service, place: Path, output: Path
) -> None:
    photo = poisoned(place / output.name / "poison.jpg", "segv")
    job = service.client.submit("classify", photo.parent, output=output)
    status = service.client.wait(job, timeout=PATIENCE)
    drawn(photo)
    again = service.client.wait(service.client.retry(job), timeout=PATIENCE)

    assert (status.state, status.failed_by_code) == ("dead", {"crashed": 1})
    assert "pixelmill dead list" in str(status.reason)
    assert (again.state, again.finished) == ("done", 1)


@pytest.mark.usefixtures("worker")
def test_a_client_waits_through_a_broker_that_is_killed_and_started_again(
    service: Service, place: Path, output: Path
) -> None:
    job = service.client.submit("detect", place / "photos", output=output)
    until(lambda: finished_images(output) >= 2, "work has begun")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.client.wait, job, None, PATIENCE)
        service.rabbit.kill()
        service.rabbit.start()
        status = waiting.result()

    assert (status.state, status.finished, status.failed) == ("done", IMAGES, 0)
    assert len(lines_of(output)) == len(set(lines_of(output))) == IMAGES


@pytest.mark.usefixtures("worker")
def test_a_worker_that_cannot_write_stops_taking_messages_and_takes_them_again_when_it_can(
    service: Service, place: Path, output: Path
) -> None:
    names = sorted(path.name for path in (place / "photos").iterdir())
    with worker_on(service, place, **service.variables) as sick:
        limit_files(sick, 0)
        spec = submit(service, place / "photos", output / "first", [[name] for name in names], patience_seconds=600)
        out = until(lambda: taken_out(service, sick), "the sick worker takes itself out")
        lines = finished(service, spec)
        limit_files(sick, resource.RLIM_INFINITY)
        until(lambda: not taken_out(service, sick), "it returns")
        again = submit(service, place / "photos", output / "second", [names[start::4] for start in range(4)])
        until(lambda: held_by(service, again, sick), "it works")
        more = finished(service, again)

    assert "could not be written" in out.unfit
    assert sorted(lines) == sorted(more) == names


def test_rabbitmq_without_a_store_is_refused_with_what_to_set(tmp_path: Path) -> None:
    broker = "amqp://guest:secret@127.0.0.1:1//"

    said = one_sentence(pixelmill("worker", "--root", tmp_path, PIXELMILL_BROKER=broker))

    assert "set PIXELMILL_STORE to a Redis or Valkey server" in said
    assert "secret" not in said
    with pytest.raises(BrokerError, match="keeps messages but no state"):
        Client(broker)
