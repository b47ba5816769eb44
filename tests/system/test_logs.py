"""The log of a real worker whose broker has a password, goes away and comes back, and whose images kill."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import BINARY, RedisServer
from tests.system.processes import PIXELMILL, drawn, environment, until
from tests.system.service import POISONABLE, QUEUE, finished, poisoned, submit
from workers.roll import Roll
from workers.store import JobStore

pytestmark = pytest.mark.service
PASSWORD = "s3cret-of-the-broker"


@contextlib.contextmanager
def logging_to(log: Path, *words: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command with all it says in a file; a pipe nobody reads would stop it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*PIXELMILL, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(**variables)
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_every_line_is_json_and_none_holds_the_password(tmp_path: Path) -> None:
    if BINARY is None:
        pytest.skip("no redis-server here; apt-get install redis-server")
    server = RedisServer(tmp_path / "redis", PASSWORD)
    server.start()
    drawn(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "no.jpg").write_bytes(b"no image")
    poisoned(tmp_path / "photos" / "kill.jpg", "segv")
    options = ["--root", str(tmp_path), "--processes", "1", "--log-format", "json", "--log-level", "DEBUG"]
    log = tmp_path / "worker.log"
    with logging_to(log, "worker", "--broker", server.url, *options, **POISONABLE) as process:
        roll = Roll(JobStore(server.url), QUEUE)
        until(lambda: roll.workers(), "the worker takes messages")
        spec = submit(server, tmp_path / "photos", tmp_path / "out", [["a.jpg", "no.jpg", "kill.jpg"]])
        finished(server, spec)
        server.kill()
        until(lambda: "Connection" in log.read_text(), "the worker notices that the broker is gone")
        process.terminate()
        process.wait(30)
    server.stop()

    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    of_the_image = [one for one in lines if one.get("image") == "no.jpg"]
    assert PASSWORD not in text
    assert [(one["job"], one["shard"]) for one in of_the_image] == [(spec.job, "00000000")]
    assert of_the_image[0]["message"].startswith("not_an_image: ")
    deaths = [one for one in lines if "its process was killed by signal 11" in one["message"]]
    assert {(one["job"], one["shard"]) for one in deaths} == {(spec.job, "00000000")}
    assert any(one["message"].endswith("2 failed") and one["job"] == spec.job for one in lines)
