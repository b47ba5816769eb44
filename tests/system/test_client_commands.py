"""The commands around a job, `submit` to `jobs`, against a real server and a real worker."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.system import clients
from tests.system.clients import PATIENCE
from tests.system.processes import (
    PIXELMILL,
    drawn,
    environment,
    finished_images,
    one_sentence,
    pixelmill,
    started,
    until,
)
from workers import Client

place, url, client, output = clients.place, clients.url, clients.client, clients.output  # fixtures


def command(url: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return pixelmill(*words, PIXELMILL_BROKER=url)


def test_the_commands_tell_a_jobs_whole_life(url: str, place: Path, output: Path) -> None:
    photos = place / output.name
    drawn(photos / "a.jpg")
    (photos / "b.jpg").write_bytes(b"no image")

    submitted = command(url, "submit", "classify", photos, "--out", output, "--top-k", "1")
    job = submitted.stdout.strip()
    watched = command(url, "watch", job, "--json")
    shown = command(url, "status", job)
    listed = command(url, "jobs")
    lines = [json.loads(line) for line in command(url, "results", job).stdout.splitlines()]
    retried = command(url, "retry", job)
    again = command(url, "watch", retried.stdout.strip())

    assert submitted.returncode == 0, submitted.stderr
    assert (watched.returncode, json.loads(watched.stdout)["state"]) == (3, "done with failures")
    assert f"{job}  done with failures" in shown.stdout
    assert "2 of 2, 1 failed (1 not_an_image)" in shown.stdout
    assert job in listed.stdout
    assert sorted(line["image"] for line in lines) == ["a.jpg", "b.jpg"]
    assert len(lines[0].get("labels") or lines[1]["labels"]) == 1
    assert again.returncode == 3
    assert "1 of 1, 1 failed" in again.stdout


def test_ctrl_c_ends_the_watching_and_not_the_job(client: Client, url: str, place: Path, output: Path) -> None:
    import signal

    job = client.submit("detect", place / "photos", output=output)
    with started("watch", job, PIXELMILL_BROKER=url) as watching:
        assert watching.stderr is not None
        assert job in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)

    assert watching.returncode == 130
    assert f"the job goes on: `pixelmill watch {job}` again" in said
    assert "Traceback" not in said
    assert client.wait(job, timeout=PATIENCE).state == "done"


def test_the_service_tells_how_it_is(client: Client, url: str, place: Path, output: Path) -> None:
    job = client.submit("detect", place / "photos", output=output)
    until(lambda: finished_images(output) >= 5, "work has begun")

    while_it_runs = json.loads(command(url, "status", "--json").stdout)
    client.cancel(job)
    finished = client.status(job).finished
    counted = until(lambda: client.service().finished_by_minute, "the service counts")
    said = command(url, "status").stdout

    assert [one["job"] for one in while_it_runs["running"]] == [job]
    assert [one["processes"] for one in while_it_runs["workers"]] == [2]
    assert while_it_runs["workers"][0]["ready"]
    loaded = [(one["pipeline"], one["provider"]) for one in while_it_runs["workers"][0]["loaded"]]
    assert ("detect", "CPUExecutionProvider") in loaded
    assert set(while_it_runs["waiting"]) == {"high", "normal", "bulk"}
    assert while_it_runs["server"].startswith("Valkey ")
    assert "shards waiting: 0 high, 0 normal, 0 bulk" in said
    assert "none runs" in said
    assert ", CPUExecutionProvider, in " in said
    assert len(counted) == 60
    assert sum(counted) >= finished > 0
    assert re.search(r"hour +[\d,]+ images, at most [\d,]+ a minute +.*[▁-█]", said)


@pytest.mark.parametrize("verb", ["status", "watch", "results", "cancel", "retry"])
def test_a_job_the_service_does_not_know_is_one_sentence(url: str, verb: str) -> None:
    said = one_sentence(command(url, verb, "20200101-000000-ffffffff"))

    assert "knows no job '20200101-000000-ffffffff'" in said
    assert "pixelmill jobs" in said


@pytest.mark.parametrize(
    "words", [["status"], ["jobs"], ["watch", "x"], ["submit", "detect", "photos", "--out", "out"], ["results", "x"]]
)
def test_without_a_broker_a_command_says_what_is_missing(words: list[str]) -> None:
    said = one_sentence(pixelmill(*words))

    assert "a client needs a broker: set PIXELMILL_BROKER" in said


def test_a_reader_that_has_had_enough_is_no_error(client: Client, url: str, place: Path, output: Path) -> None:
    job = client.submit("classify", place / "photos", output=output)
    client.wait(job, timeout=PATIENCE)

    done = subprocess.run(
        ["sh", "-c", f"{' '.join(PIXELMILL)} results {job} | head -1"],
        env=environment(PIXELMILL_BROKER=url), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
