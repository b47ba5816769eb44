"""Webhooks on their way to a real HTTP server."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from tests.redis_server import free_port
from tests.system.processes import until
from tests.workers.test_jobs import a_spec
from workers import courier
from workers.courier import Courier
from workers.jobs import JobSpec
from workers.outbox import Outbox
from workers.registry import Registry
from workers.settings import Settings, settings
from workers.status import Status, status_of
from workers.store import JobStore
from workers.webhooks import verify

SECRET = "a secret of the operator's"
HERE = Settings(webhook_secret=SECRET, private_networks="127.0.0.0/8,::1/128", webhook_tries=3)


@dataclass
class Receiver:
    """A web server that keeps what it is sent and answers as told; the last answer again and again."""

    answers: list[int]
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0
    hold: Event = field(default_factory=Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver([200])
    told.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.came.append((self.path, dict(self.headers), body))
            answer = told.answers[min(len(told.came), len(told.answers)) - 1]
            told.hold.wait(30)
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", f"http://127.0.0.1:{told.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_address[1]
    Thread(target=server.serve_forever, daemon=True).start()
    yield told
    told.hold.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def registry(store: JobStore) -> Registry:
    return Registry(store)


def ended_job(registry: Registry, url: str, state: Any = "closed") -> JobSpec:
    spec = a_spec()
    registry.create(spec, "photos/", "client", webhook=url)
    registry.listing(spec.job, 0, 3, shards=0)
    if state != "running":
        registry.store.end(spec.job, state)
    return spec


def deliver(store: JobStore, config: Settings = HERE) -> None:
    """Send until nothing is left in the outbox, without long pauses between two tries."""
    post = Courier(store, settings().queue, config, least_pause=0.001)
    until(lambda: not post.step() and Outbox(store).count() == 0, "the outbox is empty", 30)


def status(registry: Registry, spec: JobSpec) -> Status:
    found = status_of(registry, spec.job)
    assert found is not None
    return found


def test_the_end_of_a_job_is_told_signed_and_once(registry: Registry, store: JobStore, receiver: Receiver) -> None:
    spec = ended_job(registry, receiver.url + "?key=1")

    deliver(store)
    deliver(store)

    ((path, sent, body),) = receiver.came
    verify(SECRET, sent, body)
    said = json.loads(body)
    assert path == "/hook?key=1"
    assert sent["webhook-id"] == f"{spec.job}-ended"
    assert said["type"] == "job.ended"
    assert (said["data"]["job"], said["data"]["state"], said["data"]["finished"]) == (spec.job, "done", 3)
    (log,) = status(registry, spec).deliveries
    assert (log.ok, log.said, log.number, log.final) == (True, "answered 200", 1, True)


def test_a_job_that_runs_is_not_told(registry: Registry, store: JobStore, receiver: Receiver) -> None:
    spec = ended_job(registry, receiver.url, state="running")
    post = Courier(store, settings().queue, HERE)

    assert post.step()
    assert not post.step()
    store.end(spec.job, "cancelled", "cancelled by a client")
    Outbox(store).put_off(spec.job, -1)
    post.step()

    assert [json.loads(body)["data"]["state"] for _, _, body in receiver.came] == ["cancelled"]


@pytest.mark.parametrize("answer", [500, 404, 302, 307])
def test_any_answer_but_success_is_tried_again_with_the_same_id(
    registry: Registry, store: JobStore, receiver: Receiver, answer: int
) -> None:
    receiver.answers = [answer, 204]
    spec = ended_job(registry, receiver.url)

    deliver(store)

    assert [path for path, _, _ in receiver.came] == ["/hook", "/hook"]  # a redirect leads nowhere
    assert len({sent["webhook-id"] for _, sent, _ in receiver.came}) == 1
    assert [log.said for log in status(registry, spec).deliveries] == [f"answered {answer}", "answered 204"]


def test_a_dead_endpoint_is_given_up_and_the_job_is_as_it_was(registry: Registry, store: JobStore) -> None:
    spec = ended_job(registry, f"http://127.0.0.1:{free_port()}/")
    before = status(registry, spec)

    deliver(store)

    after = status(registry, spec)
    assert [(log.ok, log.final) for log in after.deliveries] == [(False, False), (False, False), (False, True)]
    assert all("refused" in log.said for log in after.deliveries)
    assert (after.state, after.reason, after.ended) == (before.state, before.reason, before.ended)


def test_an_endpoint_that_never_answers_is_cut_off(
    registry: Registry, store: JobStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "POST_SECONDS", 0.2)
    receiver.hold.clear()
    spec = ended_job(registry, receiver.url)

    deliver(store, HERE.model_copy(update={"webhook_tries": 1}))

    (log,) = status(registry, spec).deliveries
    assert not log.ok
    assert log.said.startswith("not delivered: ")


def test_an_answer_that_drips_is_cut_off_too(store: JobStore, registry: Registry, monkeypatch: Any) -> None:
    monkeypatch.setattr(courier, "POST_SECONDS", 0.4)
    ended = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        spec = ended_job(registry, f"http://127.0.0.1:{server.getsockname()[1]}/")

        def drip() -> None:
            client, _ = server.accept()
            with client:
                try:
                    client.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not ended.wait(0.02):
                        client.sendall(b"X: y\r\n")
                except OSError:
                    return

        Thread(target=drip, daemon=True).start()
        deliver(store, HERE.model_copy(update={"webhook_tries": 1}))
        ended.set()

    assert [log.ok for log in status(registry, spec).deliveries] == [False]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_private_address_is_not_reached_unless_it_is_allowed(
    registry: Registry, store: JobStore, receiver: Receiver, host: str
) -> None:
    spec = ended_job(registry, f"http://{host}:{receiver.port}/")

    deliver(store, HERE.model_copy(update={"private_networks": None, "webhook_tries": 1}))

    (log,) = status(registry, spec).deliveries
    assert "has the private address" in log.said
    assert "PIXELMILL_PRIVATE_NETWORKS" in log.said
    assert receiver.came == []


def test_without_a_secret_nothing_is_sent_and_the_log_says_why(
    registry: Registry, store: JobStore, receiver: Receiver
) -> None:
    spec = ended_job(registry, receiver.url)

    deliver(store, Settings(private_networks="127.0.0.0/8", webhook_tries=1))

    assert receiver.came == []
    assert [log.said for log in status(registry, spec).deliveries] == [
        "not sent: the worker has no PIXELMILL_WEBHOOK_SECRET"
    ]


def test_neither_the_secret_nor_the_urls_key_is_shown_or_logged(
    registry: Registry, store: JobStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [500, 200]
    spec = ended_job(registry, receiver.url + "?key=of-the-url")

    deliver(store)

    shown = json.dumps(status(registry, spec).to_json()) + caplog.text + receiver.came[0][2].decode()
    assert "answered 500" in caplog.text
    assert "of-the-url" not in shown
    assert SECRET not in shown + repr(HERE)


def test_two_couriers_send_one_message(registry: Registry, store: JobStore, receiver: Receiver) -> None:
    receiver.hold.clear()
    ended_job(registry, receiver.url)
    first, second = (Courier(JobStore(store.url), settings().queue, HERE) for _ in range(2))
    sending = Thread(target=first.step)
    sending.start()
    until(lambda: receiver.came, "the first one sends")

    nothing_to_do = not second.step()
    receiver.hold.set()
    sending.join(10)

    assert nothing_to_do
    assert len(receiver.came) == 1


def test_a_job_the_service_has_forgotten_is_taken_out(registry: Registry, store: JobStore) -> None:
    registry.forget(ended_job(registry, "http://127.0.0.1/").job)

    deliver(store)

    assert Outbox(store).count() == 0


def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address(
    registry: Registry, store: JobStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real: Callable[..., Any] = socket.getaddrinfo

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        """A name server that gives this machine the first time, and an address nobody may reach from then on."""
        if host != "rebinding.example":
            return real(host, *arguments, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "192.0.2.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    ended_job(registry, f"http://rebinding.example:{receiver.port}/hook")

    deliver(store)

    assert asked == ["rebinding.example"]
    assert [sent["Host"] for _, sent, _ in receiver.came] == [f"rebinding.example:{receiver.port}"]
