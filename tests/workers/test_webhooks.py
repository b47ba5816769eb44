"""Webhooks: their signature against the published example, and their way to a real HTTP server."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.redis_server import free_port
from tests.system.processes import until
from tests.workers.test_jobs import a_spec
from workers import courier
from workers.courier import Courier
from workers.errors import AddressError
from workers.jobs import JobSpec
from workers.outbox import Outbox
from workers.registry import Registry
from workers.settings import Settings, settings
from workers.status import Status, status_of
from workers.store import JobStore
from workers.webhooks import check_webhook, sign, verify

SECRET = "a secret of the operator's"
HERE = Settings(webhook_secret=SECRET, private_networks="127.0.0.0/8,::1/128", webhook_tries=3)

# the example of the Standard Webhooks specification and of its libraries' tests
EXAMPLE = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": 1614265330,
    "body": b'{"test": 2432232314}',
}
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


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


def test_a_signature_is_that_of_the_standards_example() -> None:
    assert sign(**EXAMPLE) == SIGNATURE


@pytest.mark.parametrize("change", [{"body": b'{"test": 2432232315}'}, {"timestamp": 1614265331}, {"id": "msg_other"}])
def test_a_signature_is_another_one_for_anything_else(change: dict[str, Any]) -> None:
    assert sign(**{**EXAMPLE, **change}) != SIGNATURE


def headers(**change: str) -> dict[str, str]:
    named = {"id": EXAMPLE["id"], "timestamp": str(EXAMPLE["timestamp"]), "signature": SIGNATURE, **change}
    return {f"Webhook-{name.title()}": str(value) for name, value in named.items()}


def test_a_receiver_takes_what_is_signed_and_new_whatever_the_headers_case() -> None:
    verify(EXAMPLE["secret"], headers(), EXAMPLE["body"], now=1614265400.0)
    verify(EXAMPLE["secret"], headers(signature=f"v1,other {SIGNATURE}"), EXAMPLE["body"], now=1614265400.0)


@pytest.mark.parametrize(
    ("change", "now", "why"),
    [
        ({}, 1614265330 + 301.0, "too old"),
        ({}, 1614265330 - 301.0, "in the future"),
        ({"signature": "v1,"}, 1614265330.0, "another one"),
        ({"signature": ""}, 1614265330.0, "another one"),
        ({"timestamp": "soon"}, 1614265330.0, "no number"),
    ],
)
def test_a_receiver_refuses_what_is_old_or_signed_otherwise(change: dict[str, str], now: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        verify(EXAMPLE["secret"], headers(**change), EXAMPLE["body"], now=now)


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


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "example.org/hook", "http://", "http://user:pass-word@example.org/", "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest", "http://example.org/a b", "http://example.org:x/",
        "http://example.org/" + "a" * 2048, "http://example.org/ä", "http://example.org/\r\nX: y", "http://[::1/",
    ],
)  # fmt: skip
def test_a_url_that_can_be_no_webhook_is_refused_when_the_job_is_submitted(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        check_webhook(url, Settings())

    assert "pass-word" not in str(refused.value)


def test_a_public_url_and_none_are_taken() -> None:
    check_webhook("https://example.org/hook?key=1", Settings())
    check_webhook("", Settings())


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


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for `localhost` and its key in one file, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here; apt-get install openssl")
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", *words, *names, "-keyout", key, "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return pem


@pytest.mark.service
def test_over_https_only_a_server_that_is_who_its_url_says_is_told(
    registry: Registry, store: JobStore, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.headers["Host"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    port, once = server.server_address[1], HERE.model_copy(update={"webhook_tries": 1})

    unknown = ended_job(registry, f"https://localhost:{port}/")
    deliver(store, once)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    known = ended_job(registry, f"https://localhost:{port}/")
    another_name = ended_job(registry, f"https://127.0.0.1:{port}/")
    deliver(store, once)
    server.shutdown()
    server.server_close()

    assert came == [f"localhost:{port}"]
    assert [log.ok for log in status(registry, known).deliveries] == [True]
    assert "certificate verify failed" in status(registry, unknown).deliveries[0].said
    assert "certificate verify failed" in status(registry, another_name).deliveries[0].said
