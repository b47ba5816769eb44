"""A job that has passed its deadline, as its client, its folder and the webhook's receiver see it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.redis_server import RedisServer
from tests.system.clients import worker_on
from tests.system.processes import drawn, left_behind, pixelmill, results, until
from workers import Client
from workers.errors import JobError
from workers.webhooks import verify

pytestmark = pytest.mark.service
IMAGES = 1000  # more than any machine does in the time
SECRET = "a secret of the operator's"


def test_a_deadline_ends_the_job_between_images_and_the_webhook_tells(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    came: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=receiver.serve_forever, daemon=True).start()
    photo, photos, out = drawn(tmp_path / "photo.jpg"), tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(IMAGES):
        (photos / f"{number}.jpg").hardlink_to(photo)
    allowed = {"PIXELMILL_BROKER": redis_server.url, "PIXELMILL_PRIVATE_NETWORKS": "127.0.0.0/8"}
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    with worker_on(redis_server.url, tmp_path, PIXELMILL_WEBHOOK_SECRET=SECRET, **allowed):
        words = ["submit", "detect", photos, "--out", out, "--no-overlays", "--webhook", url, "--deadline"]
        submitted = pixelmill(*words, "2s", **allowed)
        until(lambda: came, "the receiver is told")
        until(lambda: left_behind(out) == [], "what is done is merged")
        job = submitted.stdout.strip()
        status = json.loads(pixelmill("status", job, "--json", **allowed).stdout)
        done = results(out) if (out / "results.jsonl").exists() else {}
        retried = json.loads(pixelmill("retry", job, "--json", **allowed).stdout)
    receiver.shutdown()
    receiver.server_close()

    headers, body = came[0]
    verify(SECRET, headers, body)
    assert {key: json.loads(body)["data"][key] for key in ("job", "state", "reason", "deadline")} == {
        "job": job, "state": "failed", "reason": status["reason"], "deadline": status["deadline"],
    }  # fmt: skip
    assert status["state"] == "failed"
    assert status["reason"].startswith("DeadlineExceeded: its deadline ")
    assert status["ended"] >= status["deadline"]
    assert len(done) == status["finished"] < IMAGES
    assert all(line["status"] == "ok" for line in done.values())
    assert retried["total"] == IMAGES - len(done)


def test_a_program_gives_a_deadline_and_a_job_that_no_worker_serves_ends_by_it(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    drawn(tmp_path / "photos" / "a.jpg")
    client = Client(redis_server.url)
    hook = "https://example.org/hook?key=secret"

    patient = client.submit(
        "classify", tmp_path / "photos", output=tmp_path / "one", deadline=timedelta(hours=1), webhook=hook
    )
    hasty = client.submit("classify", tmp_path / "photos", output=tmp_path / "two", deadline=0.1)
    ended = client.wait(hasty, timeout=60)
    waits = client.status(patient)

    assert (ended.state, ended.finished) == ("failed", 0)
    with pytest.raises(JobError, match=r"DeadlineExceeded: its deadline .* passed with 0 of 1 images finished"):
        list(client.results(hasty))
    assert waits.state == "pending"
    assert waits.deadline is not None
    assert datetime.fromisoformat(waits.deadline) - datetime.fromisoformat(waits.created) == timedelta(hours=1)
    assert waits.webhook == "https://example.org/hook?***"
