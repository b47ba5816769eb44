"""What comes to a gateway and should not: each gets its status, and nothing of it is left behind."""

from __future__ import annotations

import gzip
import io
import json
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import httpx
import psutil
import pytest

pytest.importorskip("fastapi")

from tests.system.gateways import Gateway, ended, refused, submitted
from tests.system.processes import drawn, until

UNKNOWN = "20260101-000000-00000000"


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return drawn(tmp_path / "photo.jpg", 3).read_bytes()


def bomb() -> bytes:
    """A PNG of some fifty kilobytes that is 20,000 × 20,000 pixels, one bit each, when it is unpacked."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501) * 20_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zip_of_death() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"{number}.jpg", bytes(10_000_000))
    return packed.getvalue()


BAD = [
    ("bomb.png", bomb(), "too_many_pixels"),
    ("death.zip", zip_of_death(), "not_an_image"),
    ("death.jpg", zip_of_death(), "not_an_image"),
    ("packed.jpg", gzip.compress(bytes(10_000_000)), "not_an_image"),
    ("page.jpg", b"<!doctype html><script>alert(1)</script>", "not_an_image"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not_an_image"),
    ("empty.jpg", b"", "empty_file"),
]


def test_what_is_no_picture_becomes_a_reason_and_is_given_back_as_nothing_a_browser_runs(api: httpx.Client) -> None:
    job = submitted(api, [(name, data) for name, data, _ in BAD])
    told = ended(api, job)
    lines = {line["image"]: line for line in api.get(f"/v1/jobs/{job}/results").json()["results"]}
    page = api.get(f"/v1/jobs/{job}/images/4", params={"kind": "original"})
    drawing = api.get(f"/v1/jobs/{job}/images/5", params={"kind": "original"})

    assert (told["state"], told["failed"]) == ("dead" if told["state"] == "dead" else "done with failures", len(BAD))
    assert {name: lines[name]["error"]["code"] for name, _, _ in BAD} == {name: code for name, _, code in BAD}
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in page.headers["content-security-policy"]
    assert drawing.headers["content-type"] == "application/octet-stream"
    assert drawing.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize(("name", "data", "code"), BAD, ids=[name for name, _, _ in BAD])
def test_one_that_is_no_picture_is_refused_with_its_reason(
    api: httpx.Client, name: str, data: bytes, code: str
) -> None:
    refused(api.post("/v1/predict/classify", content=data, headers={"Content-Type": "image/png"}), 422, code)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/predict/classify"])
def test_a_packed_body_is_refused_before_it_is_unpacked(api: httpx.Client, gateway: Gateway, path: str) -> None:
    before = gateway.kept()
    headers = {"Content-Encoding": "gzip", "Content-Type": "image/jpeg"}

    refused(api.post(path, content=gzip.compress(bytes(1_000_000)), headers=headers), 415, "unsupported_encoding")

    assert gateway.kept() == before


def test_ten_thousand_files_at_once_are_refused(api: httpx.Client, gateway: Gateway) -> None:
    before = gateway.kept()
    many = [("files", (f"{number}.jpg", b"x")) for number in range(10_000)]

    detail = refused(api.post("/v1/jobs", data={"pipeline": "classify"}, files=many), 413, "too_many_files")

    assert "at most 20 files" in detail
    assert gateway.kept() == before


def multipart(data: bytes, end: bytes = b"") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="pipeline"\r\n\r\nclassify\r\n'
    return head + b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + data + end


def test_a_form_without_its_end_is_refused(api: httpx.Client, gateway: Gateway, photo: bytes) -> None:
    before = gateway.kept()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    for body in (multipart(photo), multipart(photo, b"\r\n--b")[:200], b"", b"--b\r\n", b"no form at all"):
        answer = api.post("/v1/jobs", content=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    refused(api.post("/v1/jobs", content=b"x", headers={"Content-Type": "multipart/form-data"}), 400, "bad_form")

    assert gateway.kept() == before


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/predict/classify"])
def test_a_client_that_vanishes_in_the_middle_of_its_upload_leaves_nothing(
    api: httpx.Client, gateway: Gateway, photo: bytes, path: str, how: str
) -> None:
    before, process = gateway.kept(), psutil.Process(gateway.process.pid)
    api.get("/healthz")
    lines = process.num_fds()
    host, port = gateway.address
    data = multipart(photo[:500])
    size = f"Content-Length: {len(data) + 5000}" if how == "length" else "Transfer-Encoding: chunked"
    kind = "Content-Type: multipart/form-data; boundary=b"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{kind}\r\n{size}\r\n\r\n"
    with socket.create_connection((host, port)) as line:
        line.sendall(head.encode() + (b"%x\r\n" % len(data) if how == "chunked" else b"") + data)

    until(lambda: process.num_fds() <= lines, "the gateway has let go of the connection and of the upload")
    assert gateway.kept() == before


def test_what_is_not_there_is_not_there_on_any_way(api: httpx.Client) -> None:
    here = f"/v1/jobs/{UNKNOWN}"

    for path in (here, f"{here}/results", f"{here}/results?format=ndjson", f"{here}/events", f"{here}/images/0"):
        refused(api.get(path), 404, "unknown_job")
    refused(api.delete(here), 404, "unknown_job")
    refused(api.post(f"{here}/retry"), 404, "unknown_job")
    refused(api.get("/v1/models/none"), 404, "unknown_model")
    for strange in ("..", "%2e%2e", "a%00b", "%F0%9F%98%80", "x" * 5000, "index%2Fx"):
        assert api.get(f"/v1/jobs/{strange}").status_code in (200, 404), (
            strange
        )  # 200: `..` is /v1, cut off by the client
        assert api.get(f"{here}/images/{strange}").status_code == 404


def test_bodies_that_are_no_json_or_too_deep_are_refused(api: httpx.Client, gateway: Gateway) -> None:
    before = gateway.kept()
    deep = '{"pipeline": "classify", "params": ' + '{"a": ' * 5000 + "1" + "}" * 5000 + ', "inputs": ["/x"]}'
    bodies = [b"{", b"[]", b"null", b"\xff\xfe", deep.encode(), json.dumps({"pipeline": "classify"}).encode(),
              b'{"pipeline": "classify", "inputs": ["/x"], "more": 1}', b'{"pipeline": "generate", "count": 0}',
              b'{"pipeline": "generate", "count": 2, "seed": 4294967295}']  # fmt: skip

    for body in bodies:
        answer = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (body[:80], answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"

    assert gateway.kept() == before


def test_headers_that_lie_do_no_harm(api: httpx.Client, gateway: Gateway, photo: bytes) -> None:
    headers = {"Content-Type": "image/jpeg"}
    long = api.post("/v1/jobs", content=b"x", headers={**headers, "Idempotency-Key": "k" * 201})
    nothing = api.get("/v1/jobs", headers={"Authorization": "Basic " + "x" * 3000})
    late = api.post("/v1/predict/classify?deadline=1e9", content=photo, headers=headers)
    lost = api.get(f"/v1/jobs/{UNKNOWN}/events", headers={"Last-Event-ID": "-1; drop"})

    refused(long, 422, "bad_request")
    assert nothing.status_code == 200  # without tokens nobody asks for one
    refused(late, 422, "bad_parameter")
    refused(lost, 404, "unknown_job")
    assert gateway.process.poll() is None


def test_a_disk_without_room_is_said_and_leaves_nothing(api: httpx.Client, gateway: Gateway, photo: bytes) -> None:
    before, process = gateway.kept(), psutil.Process(gateway.process.pid)
    usual = process.rlimit(psutil.RLIMIT_FSIZE)
    files = [("files", ("a.jpg", photo + bytes(2_000_000)))]

    process.rlimit(psutil.RLIMIT_FSIZE, (500_000, usual[1]))  # for this process no file may grow beyond
    try:
        answer = api.post("/v1/jobs", data={"pipeline": "classify"}, files=files)
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, usual)

    refused(answer, 507, "output_failed")
    assert gateway.kept() == before
    assert api.post("/v1/jobs", data={"pipeline": "classify"}, files=files).status_code == 202
