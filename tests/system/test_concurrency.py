"""A job with a limit on a real service of four processes: how many of them ever work on it, looked at throughout."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.errors import ParameterError
from tests.system.gateways import Gateway
from tests.system.processes import drawn, pixelmill, results, started_worker, until
from workers import Client, connect
from workers.embedded import EmbeddedBroker
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
IMAGES = 60
PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A service of four processes, each of which takes one image in a message."""

    url: str
    folder: Path

    @property
    def client(self) -> Client:
        return Client(self.url)

    def watched(self, job: str) -> tuple[int, int]:
        """Wait for a job; give the most attempts that were at work on it at once, and the most shards open."""
        store, live, opened = JobStore(self.url), 0, 0
        client = self.client

        def ended() -> bool:
            nonlocal live, opened
            for _ in range(20):
                progress = store.progress(job)
                live, opened = max(live, len(progress.live)), max(opened, progress.open)
            return client.status(job).has_ended

        until(ended, "the job has ended")
        return live, opened


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("concurrency")
    for seed in range(IMAGES):
        drawn(folder / "photos" / f"{seed}.jpg", seed)
    broker = EmbeddedBroker(folder / "valkey")
    options = ["--root", str(folder), "--processes", str(PROCESSES), "--threads", "1"]
    try:
        with started_worker("--broker", broker.url, *options):
            roll = Roll(JobStore(broker.url), "pixelmill")
            until(lambda: any(len(one.members) == PROCESSES for one in roll.workers()), "four processes are there")
            yield Place(broker.url, folder)
    finally:
        broker.stop()


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_processes_than_its_limit_ever_work_on_a_job_and_it_gets_done(
    service: Place, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_SHARD_IMAGES", "1")
    out = service.folder / f"out-{limit}"

    job = service.client.submit("classify", service.folder / "photos", output=out, concurrency=limit)
    live, opened = service.watched(job)

    assert service.client.status(job).state == "done"
    assert len(results(out)) == IMAGES
    assert 1 <= live <= limit
    assert opened == limit


def test_two_jobs_each_have_a_limit_of_their_own(service: Place) -> None:
    client = service.client
    out = service.folder / "both"
    first = client.submit("classify", service.folder / "photos", output=out / "a", concurrency=1)
    second = client.submit("classify", service.folder / "photos", output=out / "b", params={"top_k": 2}, concurrency=2)

    assert service.watched(first)[1] <= 1
    assert service.watched(second)[1] <= 2
    assert [client.status(job).state for job in (first, second)] == ["done", "done"]


def test_a_limit_makes_no_other_job_and_goes_on_to_one_that_is_tried_again(service: Place) -> None:
    client, out = service.client, service.folder / "same"
    job = client.submit("classify", service.folder / "photos", output=out, concurrency=2)

    again = client.submit("classify", service.folder / "photos", output=out, concurrency=3)
    client.wait(job, timeout=60)
    tried = client.retry(job, only_failures=False)

    assert again == job
    assert service.watched(tried)[1] == 2
    assert len(results(out)) == IMAGES


def test_the_commands_take_a_limit(service: Place) -> None:
    words = [service.folder / "photos", "--concurrency", "1"]

    done = pixelmill("submit", "classify", *words, "--out", service.folder / "cli", "--broker", service.url)
    live, opened = service.watched(done.stdout.strip())
    ran = pixelmill("run", "classify", *words, "--out", service.folder / "ran", PIXELMILL_BROKER=service.url,
                    PIXELMILL_ROOTS="/")  # fmt: skip

    assert (live, opened) == (1, 1)
    assert ran.returncode == 0, ran.stderr
    assert len(results(service.folder / "ran")) == IMAGES


@pytest.mark.parametrize("limit", [0, -1, "x", 1.5, True])
def test_a_limit_that_is_none_is_refused_before_anything_is_queued(service: Place, limit: object) -> None:
    with pytest.raises(ParameterError, match=r"a whole number from 1; .* is none. Leave it out for no limit"):
        service.client.submit("classify", service.folder / "photos", output=service.folder / "no", concurrency=limit)  # type: ignore[arg-type]

    assert not (service.folder / "no").exists()


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_the_commands_refuse_what_is_no_limit(service: Place, limit: str) -> None:
    done = pixelmill(
        "submit", "classify", service.folder / "photos", "--out", service.folder / "no", "--concurrency", limit,
        "--broker", service.url,
    )  # fmt: skip

    assert done.returncode != 0
    assert "--concurrency" in done.stderr
    assert not (service.folder / "no").exists()


def test_a_gateway_takes_a_limit_and_refuses_what_is_none(service: Place) -> None:
    pytest.importorskip("fastapi")
    gateway = Gateway(service.folder, broker=service.url)
    client = connect(gateway.url)
    photos = [service.folder / "photos" / f"{number}.jpg" for number in range(20)]
    try:
        job = client.submit("classify", photos, concurrency=1)
        opened = service.watched(job)[1]
        again = client.submit("classify", photos[:2], key="mine", concurrency=1)
        same = client.submit("classify", photos[:2], key="mine", concurrency=2)
        with urllib.request.urlopen(f"{gateway.url}/v1/openapi.json", timeout=10) as answer:
            described = json.load(answer)
        body = json.dumps({"pipeline": "classify", "inputs": ["/a.jpg"], "concurrency": 0}).encode()
        asked = urllib.request.Request(f"{gateway.url}/v1/jobs", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError, match="422") as refused:
            urllib.request.urlopen(asked, timeout=10)
        with pytest.raises(ParameterError, match="a whole number from 1"):
            client.submit("classify", photos, concurrency=0)
    finally:
        gateway.stop()

    assert opened == 1
    assert same == again
    assert "concurrency" in json.load(refused.value)["detail"]
    form = described["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["concurrency"]["type"] == "integer"
