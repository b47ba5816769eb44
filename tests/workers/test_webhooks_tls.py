"""Webhooks over TLS, to a real server whose certificate is known, unknown, or another's."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.workers.test_webhooks import HERE, deliver, ended_job, status
from workers.registry import Registry
from workers.store import JobStore


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
    store: JobStore, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(store)
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
