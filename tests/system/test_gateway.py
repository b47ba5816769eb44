"""The HTTP API before a real broker and a real worker: what comes in, what goes out, what is refused."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")

import cv2
import numpy as np

from pipelines.errors import ParameterError
from pipelines.palette import colour_of
from pipelines.seeds import LARGEST
from tests.system.gateways import Gateway, ended, refused, submitted
from tests.system.processes import drawn, pixelmill
from workers import connect
from workers.errors import JobError, UnknownJobError
from workers.remote import RemoteClient
from workers.seeds import Seeds, seeds


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return drawn(tmp_path / "photo.jpg", 3)


def test_uploads_become_results_and_a_broken_one_a_reason(api: httpx.Client, photo: Path) -> None:
    job = submitted(api, [("a.jpg", photo.read_bytes()), ("b.jpg", photo.read_bytes()[:900]), ("c.jpg", b"<html>")])

    told = ended(api, job)

    assert (told["state"], told["total"], told["failed"]) == ("done with failures", 3, 2)
    assert told["images"] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "output" not in told
    lines = {line["image"]: line for line in api.get(f"/v1/jobs/{job}/results").json()["results"]}
    assert lines["a.jpg"]["labels"]
    assert lines["b.jpg"]["error"]["code"] == "truncated"
    assert lines["c.jpg"]["error"]["code"] == "not_an_image"


def test_results_stream_and_come_in_the_products_formats(api: httpx.Client, photo: Path) -> None:
    job = submitted(api, [("a.jpg", photo.read_bytes())], "detect")

    with api.stream("GET", f"/v1/jobs/{job}/results", params={"format": "ndjson"}) as stream:
        lines = [json.loads(line) for line in stream.iter_lines()]

    assert [line["image"] for line in lines] == ["a.jpg"]
    ended(api, job)
    assert api.get(f"/v1/jobs/{job}/results", params={"format": "coco"}).json()["images"][0]["file_name"] == "a.jpg"
    rows = list(csv.DictReader(io.StringIO(api.get(f"/v1/jobs/{job}/results", params={"format": "csv"}).text)))
    assert all(row["image"] == "a.jpg" for row in rows)
    with zipfile.ZipFile(io.BytesIO(api.get(f"/v1/jobs/{job}/results", params={"format": "yolo"}).content)) as archive:
        assert {"images/a.jpg", "labels/a.txt"} <= set(archive.namelist())
    refused(api.get(f"/v1/jobs/{job}/results", params={"format": "masks"}), 422, "bad_parameter")


def test_events_tell_of_every_image_and_of_the_end(api: httpx.Client, photo: Path) -> None:
    job = submitted(api, [(f"{n}.jpg", photo.read_bytes()) for n in range(5)])

    def heard(last: str = "") -> list[tuple[str, str, Any]]:
        with api.stream("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last} if last else {}) as stream:
            blocks = "".join(stream.iter_text()).strip().split("\n\n")
        events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
        return [(one["id"], one["event"], json.loads(one["data"])) for one in events]

    with ThreadPoolExecutor(3) as pool:
        listeners = list(pool.map(lambda _: heard(), range(3)))

    for events in listeners:
        assert {data["number"] for _, kind, data in events if kind == "image"} == set(range(5))
        assert [kind for _, kind, _ in events][-1] == "end"
        assert events[-1][2]["state"] == "done"


def test_a_picture_can_be_had_as_it_was_sent_and_with_its_results(api: httpx.Client, photo: Path) -> None:
    job = submitted(api, [("a.jpg", photo.read_bytes())], "detect")
    ended(api, job)

    def image(**params: Any) -> httpx.Response:
        return api.get(f"/v1/jobs/{job}/images/0", params=params)

    assert image(kind="original").content == photo.read_bytes()
    assert image(kind="original").headers["x-content-type-options"] == "nosniff"
    small = cv2.imdecode(np.frombuffer(image(kind="thumbnail", size=64).content, np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert max(small.shape) == 64
    assert image(kind="overlay").headers["content-type"] == "image/jpeg"
    refused(image(kind="mask"), 404, "no_picture")
    refused(api.get(f"/v1/jobs/{job}/images/1"), 404, "no_image")
    refused(api.get(f"/v1/jobs/{job}/images/..%2F..%2Fjob.json"), 404, "no_result")


def test_one_picture_is_answered_in_the_same_response(api: httpx.Client, photo: Path) -> None:
    headers = {"Content-Type": "image/jpeg"}

    answer = api.post(
        "/v1/predict/classify", params={"params": '{"top_k": 2}'}, content=photo.read_bytes(), headers=headers
    )
    by_form = api.post("/v1/predict/classify", files={"image": ("x.jpg", photo.read_bytes())})

    assert len(answer.json()["labels"]) == 2
    assert by_form.json()["labels"][0] == answer.json()["labels"][0]
    refused(api.post("/v1/predict/classify", content=b"nothing like it", headers=headers), 422, "not_an_image")
    refused(
        api.post("/v1/predict/classify", content=b"x", headers={"Content-Type": "text/html"}),
        415,
        "unsupported_media_type",
    )
    refused(api.post("/v1/predict/clasify", content=photo.read_bytes(), headers=headers), 422, "bad_parameter")
    refused(
        api.post("/v1/predict/classify?params=[1]", content=photo.read_bytes(), headers=headers), 422, "bad_parameter"
    )


def test_the_same_key_is_the_same_job_and_another_request_is_refused(api: httpx.Client, photo: Path) -> None:
    def post(pipeline: str) -> httpx.Response:
        return api.post("/v1/jobs", data={"pipeline": pipeline}, files=[("files", ("a.jpg", photo.read_bytes()))],
                        headers={"Idempotency-Key": "once"})  # fmt: skip

    first, second = post("classify"), post("classify")

    assert first.json()["job"] == second.json()["job"]
    refused(post("detect"), 422, "key_reused")


def test_names_of_uploads_lead_nowhere(api: httpx.Client, gateway: Gateway, photo: Path) -> None:
    names = [
        "../../evil.jpg",
        "..\\..\\evil.jpg",
        "/etc/cron.d/evil.jpg",
        "evil.jpg",
        ".hidden.jpg",
        "ü b.jpg",
        "x" * 400,
    ]

    told = ended(api, submitted(api, [(name, photo.read_bytes()) for name in names]))

    assert told["images"] == [
        "evil.jpg", "evil (2).jpg", "evil (3).jpg", "evil (4).jpg", "hidden.jpg", "ü b.jpg", "x" * 120
    ]  # fmt: skip
    assert not list(gateway.data.parent.glob("evil*"))


def test_an_upload_that_calls_itself_a_list_reads_no_file_of_the_server(
    api: httpx.Client, gateway: Gateway, photo: Path
) -> None:
    theirs = ended(api, submitted(api, [("secret.jpg", photo.read_bytes())]))
    (place,) = [path for path in gateway.data.rglob("secret.jpg") if path.parent.name == "inputs"][-1:]
    listed = gateway.data.parent / "allowed" / "list.txt"
    listed.write_text(f"{place}\n")

    told = ended(api, submitted(api, [("list.txt", f"{place}\n".encode())]))
    refused(
        api.post("/v1/jobs", json={"pipeline": "classify", "inputs": [str(listed)]}),
        422,
        "outside_roots",
    )

    assert theirs["state"] == "done"
    assert (told["total"], told["failed"], told["images"]) == (1, 1, ["list.txt"])


def test_references_are_taken_from_allowed_folders_only(api: httpx.Client, gateway: Gateway) -> None:
    allowed = gateway.data.parent / "allowed"
    drawn(allowed / "in.jpg", 1)
    (allowed / "out.jpg").symlink_to(drawn(gateway.data.parent / "secret.jpg", 2))

    def post(*inputs: str) -> httpx.Response:
        return api.post("/v1/jobs", json={"pipeline": "classify", "inputs": list(inputs)})

    done = ended(api, post(str(allowed / "in.jpg")).json()["job"])

    assert done["state"] == "done"
    for outside in ("/etc/passwd", str(allowed / ".." / "secret.jpg"), str(allowed / "out.jpg"), "in.jpg", "/etc/*"):
        refused(post(outside), 422, "outside_roots")


def test_what_is_too_much_or_wrong_gets_its_status_and_leaves_nothing(
    api: httpx.Client, gateway: Gateway, photo: Path
) -> None:
    before = set((gateway.data / "jobs").iterdir())
    data = photo.read_bytes()

    many = [("files", (f"{n}.jpg", b"x")) for n in range(21)]
    refused(api.post("/v1/jobs", data={"pipeline": "classify"}, files=many), 413, "too_many_files")
    refused(
        api.post("/v1/jobs", content=b"x" * 3_100_000, headers={"Content-Type": "image/png"}), 413, "body_too_large"
    )
    refused(api.post("/v1/jobs", content=b"x", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    refused(api.post("/v1/jobs", data={"pipeline": "classify"}, files=[("other", ("a.jpg", data))]), 422, "no_files")
    wrong: list[dict[str, str]] = [
        {},
        {"pipeline": "x"},
        {"pipeline": "detect", "params": "{"},
        {"pipeline": "detect", "params": '{"score": 2}'},
        {"pipeline": "detect", "model": "../m.onnx"},
        {"pipeline": "detect", "formats": "docx"},
        {"pipeline": "portrait", "params": '{"background": "/etc/passwd"}'},
    ]
    for fields in wrong:
        answer = api.post("/v1/jobs", data=fields, files=[("files", ("a.jpg", data))])
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    refused(api.get("/v1/jobs/20260101-000000-00000000"), 404, "unknown_job")
    refused(api.get("/v1/jobs/..%2F..%2Ftokens"), 404, "not_found")
    refused(api.get("/v1/nothing"), 404, "not_found")
    assert set((gateway.data / "jobs").iterdir()) == before


def test_an_upload_that_is_cut_off_leaves_nothing(api: httpx.Client, gateway: Gateway, photo: Path) -> None:
    before = set((gateway.data / "jobs").iterdir())
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        'Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.encode() + photo.read_bytes()[:500])

    assert api.get("/healthz").json() == {"status": "ok"}
    assert set((gateway.data / "jobs").iterdir()) == before


def test_a_page_of_another_site_may_not_use_a_gateway_without_tokens(api: httpx.Client, photo: Path) -> None:
    files = [("files", ("a.jpg", photo.read_bytes()))]

    foreign = api.post(
        "/v1/jobs", data={"pipeline": "classify"}, files=files, headers={"Origin": "http://evil.example"}
    )
    rebound = api.get("/v1/jobs", headers={"Host": "evil.example"})

    refused(foreign, 403, "foreign_origin")
    assert rebound.status_code == 400


def test_pipelines_say_their_parameters_and_models_their_cards(api: httpx.Client) -> None:
    pipelines = {one["name"]: one for one in api.get("/v1/pipelines").json()}
    models = {one["name"]: one for one in api.get("/v1/models").json()}

    assert pipelines["detect"]["parameters"]["properties"]["score"]["maximum"] == 1
    assert pipelines["detect"]["default_model"] in models
    assert "coco" in pipelines["detect"]["formats"]
    assert api.get("/v1/models/lenet5").json()["quality"][0]["value"] == 0.9911
    refused(api.get("/v1/models/..%2Flenet5"), 404, "not_found")
    assert api.get("/v1/openapi.json").json()["openapi"].startswith("3.1")
    assert api.get("/v1/service").json()["workers"][0]["ready"]


def test_a_job_may_end_by_a_deadline_and_tell_a_webhook_only_an_allowed_address(
    api: httpx.Client, photo: Path, tmp_path: Path
) -> None:
    many = [("files", (f"{n}.jpg", drawn(tmp_path / f"{n}.jpg", n, (150, 200)).read_bytes())) for n in range(20)]

    late = api.post("/v1/jobs", data={"pipeline": "classify", "deadline": "0.001"}, files=many)
    private = api.post("/v1/jobs", data={"pipeline": "classify", "webhook": "http://10.0.0.1/"}, files=many[:1])

    told = ended(api, late.json()["job"])
    assert (told["finished"] < 20, "deadline" in str(told["reason"])) == (True, True), told
    refused(private, 422, "bad_address")


def test_no_request_that_the_document_allows_or_forbids_breaks_the_gateway(api: httpx.Client, photo: Path) -> None:
    pytest.importorskip("schemathesis")
    submitted(api, [("a.jpg", photo.read_bytes())])  # something that the generated requests can find
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"
    words = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{api.base_url}/v1/openapi.json",
        "--url",
        str(api.base_url),
    ]
    words += ["--phases", "fuzzing", "--max-examples", "8", "--seed", "7", "--checks", checks]

    done = subprocess.run(words, capture_output=True, text=True, cwd=photo.parent, timeout=300)

    assert done.returncode == 0, done.stdout[-4000:]


def test_requests_are_counted_by_route(api: httpx.Client) -> None:
    api.get("/v1/jobs/20260101-000000-00000000")

    text = api.get("/metrics").text

    assert 'pixelmill_http_requests_total{method="GET",route="/v1/jobs/{job}",status="404"}' in text
    assert 'pixelmill_queue_waiting{priority="high"}' in text
    assert "20260101" not in text


def test_the_same_program_speaks_to_a_gateway_as_to_a_queue(gateway: Gateway, photo: Path, tmp_path: Path) -> None:
    client = connect(gateway.url)
    assert isinstance(client, RemoteClient)

    job = client.submit("classify", [photo, photo.read_bytes(), b"no picture"], params={"top_k": 1})
    lines = {line["image"]: line for line in client.results(job)}
    again = client.retry(job)

    assert client.wait(job).state == "done with failures"
    assert lines["photo.jpg"]["labels"] == lines["picture-1"]["labels"]
    assert client.wait(again).failed == 1
    assert client.cancel(again).state == "done with failures"  # too late
    assert {status.job for status in client.list()} >= {job, again}
    assert client.run("classify", photo)["status"] == "ok"
    with pytest.raises(UnknownJobError):
        client.status("20260101-000000-00000000")
    with pytest.raises(JobError, match="not an image"):
        client.run("classify", b"nothing like it")


def test_a_program_names_what_the_gateway_sees_and_makes_pictures_from_the_last_seed(
    gateway: Gateway, tmp_path: Path
) -> None:
    client = connect(gateway.url)
    allowed = gateway.data.parent / "allowed" / "series"
    for number in range(2):
        drawn(allowed / f"{number}.jpg", number)

    referred = client.submit("classify", allowed, references=True)  # type: ignore[call-arg]
    made = client.submit("generate", seeds(2, LARGEST - 1), output=tmp_path)
    uploaded = client.submit("classify", allowed, output=tmp_path)

    assert [client.wait(job, timeout=60).finished for job in (referred, made, uploaded)] == [2, 2, 2]
    assert sorted(line["image"] for line in client.results(made, timeout=60)) == [
        f"seed-{LARGEST - 1}.png", f"seed-{LARGEST}.png"
    ]  # fmt: skip
    with pytest.raises(ParameterError, match="beyond the last seed"):
        client.submit("generate", Seeds(Path(), None, [LARGEST, LARGEST + 1]), output=tmp_path)
    assert sum(client.service().finished_by_minute) >= 6
    assert set(client.waiting()) == {"high", "normal", "bulk"}
    assert isinstance(client, RemoteClient)
    table = client.download(referred, "csv", tmp_path / "table.csv")
    assert {row["image"] for row in csv.DictReader(table.open())} == {"0.jpg", "1.jpg"}


def test_the_document_says_which_seeds_there_are(api: httpx.Client) -> None:
    made, *_ = [one for one in api.get("/v1/pipelines").json() if one["name"] == "generate"]
    document = api.get("/v1/openapi.json").json()
    asked = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]

    assert made["seeds"]["seed"]["maximum"] == asked["seed"]["maximum"] == LARGEST


def test_a_models_classes_have_the_colours_they_are_drawn_in(api: httpx.Client) -> None:
    detector, cells = (api.get(f"/v1/models/{name}").json() for name in ("smears-yolo", "smears-semantic"))

    assert detector["colours"][0] == "#{:02x}{:02x}{:02x}".format(*colour_of(0))
    assert cells["colours"] == ["#000000", *detector["colours"]]


def test_a_gateway_keeps_its_jobs_when_it_is_started_again_and_asks_for_tokens(tmp_path: Path, photo: Path) -> None:
    refusal = pixelmill("serve", "--embedded", "--tokens", "--port", "0", "--data", str(tmp_path / "data"))
    assert refusal.returncode == 1
    assert "pixelmill tokens add" in refusal.stderr
    tokens = {
        name: pixelmill("tokens", "add", name, *scopes, "--data", str(tmp_path / "data")).stdout.strip()
        for name, scopes in {"web": (), "watch": ("--scope", "read"), "root": ("--scope", "admin")}.items()
    }
    assert tokens["web"] not in (tmp_path / "data" / "tokens.json").read_text()

    def ask(gateway: Gateway, token: str | None, path: str = "/v1/jobs") -> httpx.Response:
        return httpx.get(gateway.url + path, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30)

    first = Gateway(tmp_path, "--tokens")
    try:
        job = RemoteClient(first.url, tokens["web"]).submit("classify", photo)
        assert RemoteClient(first.url, tokens["web"]).wait(job, timeout=60).state == "done"
        refused(ask(first, None), 401, "token_missing")
        refused(ask(first, "wrong"), 401, "token_missing")
        refused(ask(first, tokens["watch"], f"/v1/jobs/{job}"), 404, "unknown_job")
        assert ask(first, tokens["watch"]).json() == []
        with pytest.raises(JobError, match="read, not submit"):
            RemoteClient(first.url, tokens["watch"]).submit("classify", photo)
        assert [one["job"] for one in ask(first, tokens["root"]).json()] == [job]
        pixelmill("tokens", "remove", "watch", "--data", str(tmp_path / "data"))
        refused(ask(first, tokens["watch"]), 401, "token_missing")
    finally:
        first.stop()
    (tmp_path / "gateway.log").unlink()
    second = Gateway(tmp_path, "--tokens")
    try:
        assert [one["job"] for one in ask(second, tokens["web"]).json()] == [job]
        assert ask(second, tokens["web"], f"/v1/jobs/{job}/results").json()["results"][0]["status"] == "ok"
    finally:
        second.stop()
    assert threading.active_count() < 50
