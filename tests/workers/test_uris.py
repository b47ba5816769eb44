"""Inputs as URIs: fetched from a real web server and through fsspec, within what an operator allows."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest

from pipelines.errors import ParameterError
from tests.system.processes import drawn, pixelmill, results
from workers.errors import AddressError, SourceError
from workers.inputs import gather, is_uri
from workers.settings import Settings, settings
from workers.uris import check_allowed

PICTURE = b"the bytes of a picture"


class Server:
    """A web server: bytes by path, or a status, or a redirect."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | int | str] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                what = server.files.get(self.path, 404)
                self.send_response(302 if isinstance(what, str) else what if isinstance(what, int) else 200)
                if isinstance(what, str):
                    self.send_header("Location", what)
                body = what if isinstance(what, bytes) else b""
                self.send_header("Content-Length", str(len(body) + (7 if "broken" in self.path else 0)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def allowing(*beginnings: str, **more: Any) -> Settings:
    return Settings(uris=",".join(beginnings), private_networks="127.0.0.0/8", **more)


def stored(output: Path) -> dict[str, bytes]:
    folder = output / ".pixelmill" / "inputs" / "uris"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_are_stored_under_names_like_their_uris(server: Server, tmp_path: Path) -> None:
    server.files = {"/cats/1.jpg": b"one", "/cats/caf%C3%A9.jpg?size=2&key=k": b"two"}
    uris = [server.url + path for path in server.files]

    said, source = gather(uris, tmp_path, allowing(server.url))

    assert source is not None
    assert source.names is not None
    names = sorted(stored(tmp_path))
    assert names[0] == f"http/{server.host}/cats/1.jpg"
    assert names[1].startswith(f"http/{server.host}/cats/café~")
    assert names[1].endswith(".jpg")
    assert sorted(stored(tmp_path).values()) == [b"one", b"two"]
    assert len(list(source.scan())) == 2
    assert "key=k" not in said


def test_fetching_again_what_has_not_changed_leaves_the_file_as_it_was(server: Server, tmp_path: Path) -> None:
    server.files = {"/a.jpg": PICTURE}
    (first,) = gather(f"{server.url}/a.jpg", tmp_path, allowing(server.url))[1].scan()  # type: ignore[union-attr]

    (again,) = gather(f"{server.url}/a.jpg", tmp_path, allowing(server.url))[1].scan()  # type: ignore[union-attr]
    server.files = {"/a.jpg": PICTURE + b" changed"}
    (changed,) = gather(f"{server.url}/a.jpg", tmp_path, allowing(server.url))[1].scan()  # type: ignore[union-attr]

    assert first == again
    assert changed.size == first.size + 8


@pytest.mark.parametrize("path", ["/gone.jpg", "/error.jpg", "/moved.jpg", "/broken.jpg"])
def test_the_only_image_that_cant_be_fetched_is_an_error(server: Server, tmp_path: Path, path: str) -> None:
    server.files = {"/error.jpg": 500, "/moved.jpg": "/a.jpg", "/a.jpg": PICTURE, "/broken.jpg": PICTURE}

    with pytest.raises(SourceError, match=f"{server.url}{path} can't be fetched: "):
        gather(server.url + path, tmp_path, allowing(server.url))

    assert stored(tmp_path) == {}
    assert server.asked == [path]


def test_one_of_many_that_is_gone_becomes_a_missing_file(server: Server, tmp_path: Path) -> None:
    server.files = {"/a.jpg": PICTURE, "/b.jpg": PICTURE}
    both = [f"{server.url}/a.jpg", f"{server.url}/b.jpg"]
    gather(both, tmp_path, allowing(server.url))
    del server.files["/b.jpg"]

    _, source = gather(both, tmp_path, allowing(server.url))

    assert source is not None
    assert [(found.name, found.size) for found in source.scan()] == [("a.jpg", len(PICTURE)), ("b.jpg", -1)]


def test_nothing_is_asked_for_that_no_setting_allows(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"PIXELMILL_URIS, e.g. {server.url}/"):
        gather(f"{server.url}/a.jpg", tmp_path, Settings())
    with pytest.raises(SourceError, match="is not allowed"):
        gather(f"{server.url}/a.jpg", tmp_path, allowing("https://images.example.org/"))

    assert server.asked == []


def test_a_private_address_needs_its_network_allowed_too(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="PIXELMILL_PRIVATE_NETWORKS"):
        gather(f"{server.url}/a.jpg", tmp_path, Settings(uris=server.url))

    assert server.asked == []


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://good.example/a.jpg", "https://good.example/"),
        ("https://GOOD.example/a.jpg", "https://good.example"),
        ("https://good.example/cats/a.jpg", "https://good.example/cats"),
        ("https://any.example/a.jpg", "https://"),
        ("s3://bucket/cats/", "s3://bucket/"),
        ("s3://bucket/a..b.jpg", "s3://bucket/"),
    ],
)
def test_what_begins_like_an_allowed_uri_is_allowed(uri: str, allowed: str) -> None:
    check_allowed(uri, allowing(allowed))


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://good.example.evil.example/a.jpg", "https://good.example"),
        ("https://good.example@evil.example/a.jpg", "https://good.example"),
        ("https://good.example:444/a.jpg", "https://good.example"),
        ("http://good.example/a.jpg", "https://good.example"),
        ("https://good.example/catsitter/a.jpg", "https://good.example/cats"),
        ("https://good.example/cats/../dogs/a.jpg", "https://good.example/cats/"),
        ("https://good.example/cats/%2e%2e/dogs/a.jpg", "https://good.example/cats/"),
        ("https://good.example/cats/%252e%252e%252fdogs/a.jpg", "https://good.example/cats/"),
        ("https://good.example/cats/..%5cdogs/a.jpg", "https://good.example/cats/"),
        ("s3://bucket2/a.jpg", "s3://bucket"),
        ("file:///etc/passwd", "file:///"),
        ("zip://a.jpg::https://evil.example/b.zip", "zip://"),
        ("https://good.example/a\r\nX: y", "https://good.example"),
    ],
)
def test_what_only_looks_like_an_allowed_uri_is_refused(uri: str, allowed: str) -> None:
    with pytest.raises((SourceError, AddressError)):
        check_allowed(uri, allowing(allowed))


def test_an_image_above_the_limit_is_refused_and_not_stored(server: Server, tmp_path: Path) -> None:
    server.files = {"/a.jpg": bytes(1001)}

    with pytest.raises(SourceError, match=r"larger than 1,000 bytes \(PIXELMILL_MAX_BYTES\)"):
        gather(f"{server.url}/a.jpg", tmp_path, allowing(server.url, max_bytes=1000))

    assert stored(tmp_path) == {}


def test_all_together_have_a_limit_too(server: Server, tmp_path: Path) -> None:
    server.files = {f"/{number}.jpg": bytes([number]) * 1000 for number in range(5)}

    with pytest.raises(SourceError, match=r"above 2,500 \(PIXELMILL_MAX_UPLOADS\)"):
        gather([server.url + path for path in server.files], tmp_path, allowing(server.url, max_uploads=2500))

    assert sum(map(len, stored(tmp_path).values())) <= 2500


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for name in ("cats/1.jpg", "cats/2.PNG", "cats/notes.txt", "cats/old/3.jpg", "dogs/1.jpg"):
        system.pipe(f"/bucket/{name}", name.encode())
    yield system
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("memory://bucket/cats/1.jpg", ["cats/1.jpg"]),
        ("memory://bucket/cats/", ["cats/1.jpg", "cats/2.PNG", "cats/old/3.jpg"]),
        ("memory://bucket/cats", ["cats/1.jpg", "cats/2.PNG", "cats/old/3.jpg"]),
        ("memory://bucket/*/1.jpg", ["cats/1.jpg", "dogs/1.jpg"]),
    ],
)
def test_a_file_a_folder_and_a_pattern_of_a_file_system(
    memory: Any, tmp_path: Path, uri: str, names: list[str]
) -> None:
    _, source = gather(uri, tmp_path, allowing("memory://bucket"))

    assert source is not None
    assert sorted(data.decode() for data in stored(tmp_path).values()) == names
    assert len(list(source.scan())) == len(names)


@pytest.mark.parametrize("uri", ["memory://bucket/none/", "memory://bucket/*/none.jpg", "memory://bucket/none.jpg"])
def test_a_file_system_without_such_an_image_says_so(memory: Any, tmp_path: Path, uri: str) -> None:
    with pytest.raises(SourceError, match=r"names no image|can't be (fetched|listed)"):
        gather(uri, tmp_path, allowing("memory://bucket"))


def test_a_scheme_nobody_knows_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nosuch://bucket/a\.jpg is not understood"):
        gather("nosuch://bucket/a.jpg", tmp_path, allowing("nosuch://"))


@pytest.mark.parametrize("text", ["photos/a.jpg", "/a.jpg", "C:\\a.jpg", "a:b.jpg", "://a.jpg", "ä://b"])
def test_a_path_is_no_uri(text: str) -> None:
    assert not is_uri(text)


@pytest.mark.parametrize("value", ["images.example.org", "/photos", "https:example.org"])
def test_a_setting_that_is_no_beginning_of_a_uri_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PIXELMILL_URIS", value)
    settings.cache_clear()
    try:
        with pytest.raises(ParameterError, match="environment variable PIXELMILL_URIS: "):
            settings()
    finally:
        settings.cache_clear()


def test_a_command_takes_a_uri_to_its_result(server: Server, tmp_path: Path) -> None:
    server.files = {"/photos/a.jpg": drawn(tmp_path / "a.jpg").read_bytes()}
    words = ["run", "classify", f"{server.url}/photos/a.jpg", "--out", tmp_path / "out", "--no-overlays"]
    allowed = {"PIXELMILL_URIS": f"{server.url}/photos/", "PIXELMILL_PRIVATE_NETWORKS": "127.0.0.1/32"}

    refused = pixelmill(*words)
    done = pixelmill(*words, **allowed)

    assert "is not allowed (none is)" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert [line["status"] for line in results(tmp_path / "out").values()] == ["ok"]
