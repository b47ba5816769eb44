"""The client of programs and its commands, against a real server and a real worker: jobs that need nobody to wait."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system import clients
from tests.system.clients import IMAGES, PATIENCE, worker_on
from tests.system.processes import (
    drawn,
    environment,
    finished_images,
    journals,
    left_behind,
    one_sentence,
    pixelmill,
    results,
    until,
    without_timings,
)
from workers import Client
from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError, JobError, OutputError, SourceError, UnknownJobError, WaitTimeoutError
from workers.settings import settings

# fixtures
place, url, client, output, expected = (
    clients.place,
    clients.url,
    clients.client,
    clients.output,
    clients.expected,
)


def test_a_job_finishes_although_its_client_was_killed_right_after_it_was_submitted(
    client: Client, url: str, place: Path, output: Path, expected: dict[str, dict[str, object]]
) -> None:
    code = f"""
import sys, time
from workers import Client
print(Client({url!r}).submit("classify", {str(place / "photos")!r}, output={str(output)!r}), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True, env=environment()) as program:
        assert program.stdout is not None
        job = program.stdout.readline().strip()
        program.kill()

    status = client.wait(job, timeout=PATIENCE)

    assert (status.state, status.total, status.finished, status.failed) == ("done", IMAGES, IMAGES, 0)
    assert without_timings(results(output)) == expected
    assert (output / "report.html").exists()
    assert left_behind(output) == []
    assert list((output / ".pixelmill" / "jobs").iterdir()) == []


def test_submitting_twice_gives_one_job_whoever_does_it_and_when(
    client: Client, url: str, place: Path, output: Path
) -> None:
    start = threading.Barrier(4)

    def submit(_: int) -> str:
        start.wait()
        return Client(url).submit("classify", place / "photos", output=output)

    with ThreadPoolExecutor(4) as pool:
        (job,) = set(pool.map(submit, range(4)))
    while_it_runs = client.submit("classify", str(place / "photos"), output=str(output))
    client.wait(job, timeout=PATIENCE)
    afterwards = client.submit("classify", place / "photos", output=output)

    assert while_it_runs == afterwards == job
    assert client.status(job).finished == IMAGES
    assert len(results(output)) == IMAGES


def test_another_parameter_image_or_folder_makes_another_job(client: Client, place: Path, output: Path) -> None:
    photos = place / output.name
    drawn(photos / "a.jpg", seed=1)
    first = client.submit("classify", photos, output=output)
    client.wait(first, timeout=PATIENCE)

    drawn(photos / "b.jpg", seed=2)
    second = client.submit("classify", photos, output=output)
    client.wait(second, timeout=PATIENCE)
    third = client.submit("classify", photos, output=output, params={"top_k": 1})
    client.wait(third, timeout=PATIENCE)

    assert len({first, second, third}) == 3
    assert (client.status(second).kept, client.status(second).total) == (1, 2)
    assert client.status(third).kept == 0


def test_a_clients_own_key_means_one_job_and_never_two_things(client: Client, place: Path, output: Path) -> None:
    drawn(place / output.name / "a.jpg", seed=1)
    job = client.submit("classify", place / output.name, output=output, key="mine")
    drawn(place / output.name / "b.jpg", seed=2)

    assert client.submit("classify", place / output.name, output=output, key="mine") == job
    with pytest.raises(JobError, match=f"key 'mine' means job {job}, which has another"):
        client.submit("classify", place / output.name, output=place / "elsewhere", key="mine")
    client.wait(job, timeout=PATIENCE)


def test_a_second_job_into_a_folder_in_which_one_works_is_refused(client: Client, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)

    with pytest.raises(OutputError, match=f"job {job} works into .*`pixelmill cancel {job}` ends it"):
        client.submit("detect", place / "photos", output=output, params={"score": 0.9})
    client.cancel(job)


def test_a_run_into_a_folder_in_which_a_clients_job_works_is_refused(
    client: Client, url: str, place: Path, output: Path
) -> None:
    job = client.submit("detect", place / "photos", output=output)

    done = pixelmill("run", "detect", place / "photos", "--out", output, PIXELMILL_BROKER=url)

    assert f"job {job} works into" in one_sentence(done)
    client.cancel(job)


def test_results_come_while_the_job_runs_each_once(client: Client, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)
    lines, states = [], []
    for line in client.results(job, timeout=PATIENCE):
        if not lines:
            states.append(client.status(job).state)
        lines.append(line)

    assert states == ["running"]
    assert sorted(line["image"] for line in lines) == sorted(results(output))
    assert {line["image"]: line for line in lines} == results(output)


def test_results_of_a_job_that_has_ended_are_all_there(client: Client, place: Path, output: Path) -> None:
    job = client.submit("classify", place / "photos", output=output)
    client.wait(job, timeout=PATIENCE)

    assert {line["image"]: line for line in client.results(job)} == results(output)


def test_a_cancelled_job_stops_between_images_and_leaves_nothing_half_written(
    client: Client, place: Path, output: Path
) -> None:
    job = client.submit("detect", place / "photos", output=output)
    until(lambda: finished_images(output) >= 5, "work has begun")

    asked = time.monotonic()
    status = client.cancel(job)
    took = time.monotonic() - asked
    kept = results(output)

    assert (status.state, status.at_work, status.reason) == ("cancelled", 0, "cancelled by a client")
    assert took < 5  # a second on an idle machine
    assert 5 <= len(kept) < IMAGES
    assert all((output / line["overlay"]).exists() for line in kept.values() if line["status"] == "ok")
    assert left_behind(output) == []
    assert {line["image"] for line in client.results(job)} == set(kept)
    assert client.cancel(job).state == "cancelled"


def test_a_cancelled_job_is_continued_by_submitting_it_again(client: Client, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)
    until(lambda: finished_images(output) >= 5, "work has begun")
    client.cancel(job)
    kept = len(results(output))

    again = client.submit("detect", place / "photos", output=output)
    status = client.wait(again, timeout=PATIENCE)

    assert again != job
    assert (status.state, status.kept, status.finished) == ("done", kept, IMAGES)


def test_only_failures_are_tried_again_and_all_if_asked_for(client: Client, place: Path, output: Path) -> None:
    photos = place / output.name
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        drawn(photos / name, seed)
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(whole[:300])
    job = client.submit("classify", photos, output=output)
    first = client.wait(job, timeout=PATIENCE)
    (photos / "b.jpg").write_bytes(whole)

    retried = client.retry(job)
    second = client.wait(retried, timeout=PATIENCE)

    assert (first.state, first.failed_by_code) == ("done with failures", {"truncated": 1})
    assert (second.state, second.total, second.finished) == ("done", 1, 1)
    assert {name: line["status"] for name, line in results(output).items()} == {
        "a.jpg": "ok", "b.jpg": "ok", "c.jpg": "ok"
    }  # fmt: skip
    with pytest.raises(JobError, match="has no failures: there is nothing to try again"):
        client.retry(retried)
    everything = client.wait(client.retry(retried, only_failures=False), timeout=PATIENCE)
    assert (everything.state, everything.total, everything.kept) == ("done", 3, 0)


def test_what_a_cancelled_job_did_not_come_to_is_tried_again(client: Client, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)
    until(lambda: finished_images(output) >= 5, "work has begun")
    client.cancel(job)
    kept = len(results(output))

    status = client.wait(client.retry(job), timeout=PATIENCE)

    assert (status.state, status.total) == ("done", IMAGES - kept)
    assert len(results(output)) == IMAGES


def test_bytes_are_stored_once_under_their_checksum_and_never_travel(
    client: Client, url: str, place: Path, output: Path
) -> None:
    import hashlib

    data = (place / "photos").glob("*.jpg").__next__().read_bytes()

    job = client.submit("classify", [data, data], output=output)
    status = client.wait(job, timeout=PATIENCE)

    name = hashlib.sha256(data).hexdigest()
    (line,) = results(output).values()
    assert (status.state, status.total, line["image"], line["sha256"]) == ("done", 1, name, name)
    assert client.submit("classify", data, output=output) == job


def test_inputs_of_many_kinds_make_one_job(client: Client, place: Path, output: Path) -> None:
    folder = place / output.name
    for seed, name in enumerate(
        ("whole/a.jpg", "whole/deep/b.jpg", "some/c1.jpg", "some/c2.jpg", "listed.jpg", "d.jpg")
    ):
        drawn(folder / name, seed)
    (folder / "list.txt").write_text("listed.jpg\n")
    data = drawn(folder / "bytes.jpg", 9).read_bytes()

    job = client.submit(
        "classify",
        [
            folder / "whole",
            str(folder / "some" / "c*.jpg"),
            folder / "list.txt",
            folder / "d.jpg",
            data,
            folder / "no.jpg",
        ],
        output=output,
    )
    status = client.wait(job, timeout=PATIENCE)

    assert (status.total, status.failed_by_code) == (8, {"not_found": 1})


@pytest.mark.parametrize("what", ["a folder", "a link", "an output"])
def test_what_lies_outside_the_roots_is_refused_before_anything_is_queued(
    client: Client, url: str, place: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    inner = place / output.name
    drawn(inner / "a.jpg")
    drawn(tmp_path / "secret.jpg")
    (inner / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    source = {"a folder": tmp_path, "a link": inner, "an output": place / "photos"}[what]
    monkeypatch.setenv("PIXELMILL_ROOTS", str(place))
    settings.cache_clear()
    before = Client(url).list()

    with pytest.raises((OutputError, SourceError), match="outside the folders"):
        Client(url).submit("classify", source, output=tmp_path / "out" if what == "an output" else output)

    settings.cache_clear()
    assert client.list() == before
    assert sum(client.service().waiting.values()) == 0
    assert not (output / "results.jsonl").exists()


def test_a_worker_that_may_not_touch_the_folders_fails_the_job_with_the_reason(client: Client, tmp_path: Path) -> None:
    drawn(tmp_path / "photos" / "a.jpg")

    status = client.wait(client.submit("classify", tmp_path / "photos", output=tmp_path / "out"), timeout=PATIENCE)

    assert status.state == "failed"
    assert "lies outside the folders the worker may touch" in str(status.reason)


def test_an_unknown_job_is_said_with_the_nearest_one(client: Client, place: Path, output: Path) -> None:
    job = client.submit("classify", place / "photos", output=output)
    client.wait(job, timeout=PATIENCE)
    typed = job[:-1] + ("0" if job[-1] != "0" else "1")

    with pytest.raises(UnknownJobError, match=f"knows no job '{typed}': did you mean {job}"):
        client.status(typed)


def test_waiting_has_an_end_and_tells_how_far_it_is(client: Client, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)
    seen: list[int] = []

    with pytest.raises(WaitTimeoutError, match=f"job {job} is .* it goes on"):
        client.wait(job, timeout=0)
    client.wait(job, lambda status: seen.append(status.finished), timeout=PATIENCE)

    assert seen == sorted(seen)
    assert seen[-1] == IMAGES


def test_a_client_without_a_broker_says_what_to_do() -> None:
    with pytest.raises(BrokerError, match="a client needs a broker: set PIXELMILL_BROKER"):
        Client()


def test_a_broker_that_is_not_there_is_said_before_anything_is_written(place: Path, output: Path) -> None:
    with pytest.raises(BrokerError, match="can't be reached"):
        Client("redis://127.0.0.1:1").submit("classify", place / "photos", output=output)

    assert not output.exists()


def test_everything_killed_at_once_loses_nothing_that_was_confirmed(
    place: Path, output: Path, tmp_path: Path, expected: dict[str, dict[str, object]]
) -> None:
    broker = EmbeddedBroker(tmp_path / "valkey")
    with worker_on(broker.url, place) as worker:
        job = Client(broker.url).submit("classify", place / "photos", output=output)
        until(lambda: finished_images(output) >= 5, "work has begun")
        for process in [worker, *worker.children(recursive=True)]:
            process.kill()
    broker._process.kill()
    broker._process.wait()

    again = EmbeddedBroker(tmp_path / "valkey")
    with worker_on(again.url, place):
        status = Client(again.url).wait(job, timeout=PATIENCE)

    assert (status.state, status.finished) == ("done", IMAGES)
    assert without_timings(results(output)) == expected
    assert left_behind(output) == []
    again.stop()
    broker.stop()


@pytest.mark.service
def test_a_waiting_client_survives_a_broker_that_is_killed_and_started_again(
    redis_server: RedisServer, place: Path, output: Path
) -> None:
    with worker_on(redis_server.url, place):
        client = Client(redis_server.url)
        job = client.submit("detect", place / "photos", output=output)
        until(lambda: finished_images(output) >= 5, "work has begun")
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(client.wait, job, None, PATIENCE)
            reading = pool.submit(lambda: [line["image"] for line in client.results(job, PATIENCE)])
            redis_server.kill()
            with pytest.raises(BrokerError):
                client.status(job)
            redis_server.start()
            status, read = waiting.result(), reading.result()

    assert (status.state, status.finished) == ("done", IMAGES)
    assert sorted(read) == sorted(results(output))


def test_no_journal_is_left_where_jobs_have_ended(place: Path) -> None:
    outputs = [path for path in (place / "out").iterdir() if path.is_dir()]

    assert outputs
    assert [journal for output in outputs for journal in journals(output)] == []


def test_one_picture_is_answered_over_the_queue_as_it_is_in_process(client: Client, place: Path) -> None:
    import pipelines

    path = sorted((place / "photos").glob("*.jpg"))[0]
    expected = pipelines.load("efficientnet-lite0")(path).to_json()["labels"]

    by_path = client.run("classify", path, timeout=PATIENCE)
    by_bytes = client.run("classify", path.read_bytes(), timeout=PATIENCE)
    outside = client.run("classify", Path(__file__), timeout=PATIENCE)

    assert by_path["labels"] == by_bytes["labels"] == expected
    assert outside["error"]["code"] == "outside_roots"
