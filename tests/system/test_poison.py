"""Images that kill, hang or fill the memory of real pool processes: each named with its cause, all others done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.processes import drawn, pixelmill
from tests.system.service import POISONABLE, QUEUE, finished, poisoned, submit, worker_on
from workers.deadletters import DeadLetters
from workers.store import JobStore

pytestmark = pytest.mark.service

CASES = {
    "segv": ("crashed", "killed by signal 11 (SIGSEGV) while decoding, 3 times"),
    "abort": ("crashed", "killed by signal 6 (SIGABRT) while decoding, 3 times"),
    "exit": ("crashed", "ended with exit status 3 while decoding, 3 times"),
    "hang": ("timed_out", "exceeded 2 s while decoding"),
    "memory": ("out_of_memory", "out of memory: "),
    "raise": ("crashed", "broke with RuntimeError: a defect in a library while decoding, 3 times"),
    "refused": ("out_of_memory", "out of memory: an allocation was refused while decoding"),
}


@pytest.mark.parametrize("how", CASES)
def test_an_image_that_ends_its_process_stands_alone_in_the_dead_letters_and_the_rest_is_done(
    redis_server: RedisServer, tmp_path: Path, how: str
) -> None:
    code, cause = CASES[how]
    names = [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        drawn(tmp_path / "photos" / name, seed=number)
    poisoned(tmp_path / "photos" / "poison.jpg", how)
    limits = {"PIXELMILL_IMAGE_SECONDS": "2", "PIXELMILL_MEMORY_GROWTH": "300"}
    with worker_on(redis_server, tmp_path, threads=2, **POISONABLE, **limits):
        spec = submit(redis_server, tmp_path / "photos", tmp_path / "out", [[*names[:4], "poison.jpg", *names[4:]]])
        lines = finished(redis_server, spec)
    (letter,) = DeadLetters(JobStore(redis_server.url), QUEUE).list()

    assert sorted(lines) == sorted([*names, "poison.jpg"])
    assert lines["poison.jpg"]["error"]["code"] == letter.code == code
    assert lines["poison.jpg"]["error"]["message"] == letter.cause
    assert letter.cause.startswith(cause)
    assert (letter.kind, letter.job, letter.image) == ("image", spec.job, "poison.jpg")
    assert all(lines[name]["status"] == "ok" for name in names)
    assert JobStore(redis_server.url).progress(spec.job).failed_by_code == {code: 1}


def test_dead_letters_are_listed_shown_and_sent_again(redis_server: RedisServer, tmp_path: Path) -> None:
    drawn(tmp_path / "photos" / "good.jpg")
    poisoned(tmp_path / "photos" / "poison.jpg", "exit")
    broker = {"PIXELMILL_BROKER": redis_server.url}
    with worker_on(redis_server, tmp_path, **POISONABLE):
        finished(
            redis_server, submit(redis_server, tmp_path / "photos", tmp_path / "out", [["good.jpg", "poison.jpg"]])
        )
    listed = pixelmill("dead", "list", **broker)
    (letter,) = json.loads(pixelmill("dead", "list", "--json", **broker).stdout)
    shown = pixelmill("dead", "show", letter["id"], **broker)
    drawn(tmp_path / "photos" / "poison.jpg", seed=1)  # somebody replaces the picture
    with worker_on(redis_server, tmp_path):
        again = pixelmill("dead", "retry", letter["id"], "--wait", **broker)
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()

    assert "poison.jpg" in listed.stdout
    assert "ended with exit status 3" in listed.stdout
    assert str(tmp_path / "photos" / "poison.jpg") in shown.stdout
    assert again.returncode == 0, again.stderr
    assert {json.loads(line)["image"]: json.loads(line)["status"] for line in lines} == {
        "good.jpg": "ok",
        "poison.jpg": "ok",
    }
    assert json.loads(pixelmill("dead", "list", "--json", **broker).stdout) == []
