"""Who may do what at a gateway that asks for tokens: scopes, others' jobs, rates, revocation, pages of other sites."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

from tests.system.gateways import Gateway, refused, submitted
from tests.system.processes import drawn, pixelmill
from workers.embedded import EmbeddedBroker
from workers.gateway.tokens import Scope, Tokens

ORIGIN = "https://app.example"
As = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before a broker without a worker: jobs wait, and are somebody's."""
    folder = tmp_path_factory.mktemp("gateway")
    Tokens(folder / "data" / "tokens.json").add("first", ["read"])
    broker = EmbeddedBroker(folder / "broker")
    made = Gateway(folder, "--tokens", "--rate", "4", "--allow-origin", ORIGIN, broker=broker.url)
    yield made
    made.stop()
    broker.stop()


@pytest.fixture
def client_of(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[As]:
    """A client with a token of its own."""
    made: list[httpx.Client] = []

    def client(name: str, *scopes: Scope) -> httpx.Client:
        tokens = Tokens(gateway.data / "tokens.json")
        secret = tokens.add(f"{name} of {request.node.name}"[:80], scopes or ("submit", "read"))
        made.append(httpx.Client(base_url=gateway.url, timeout=30, headers={"Authorization": f"Bearer {secret}"}))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return drawn(tmp_path / "photo.jpg", 3).read_bytes()


def ways_to(job: str) -> list[tuple[str, str]]:
    here = f"/v1/jobs/{job}"
    looks = ["", "/results", "/results?format=ndjson", "/results?format=coco", "/events", "/images/0", "/images/a.jpg",
             "/images/0?kind=original"]  # fmt: skip
    return [*(("GET", here + look) for look in looks), ("DELETE", here), ("POST", f"{here}/retry")]


def test_anothers_job_is_as_if_it_were_not_there(client_of: As, photo: bytes) -> None:
    mine, other = client_of("mine"), client_of("other")
    job = submitted(mine, [("a.jpg", photo)])

    for method, path in ways_to(job):
        theirs = refused(other.request(method, path), 404, "unknown_job")
        assert theirs == f"there is no job {job!r}: GET /v1/jobs lists yours"
    assert [one["job"] for one in mine.get("/v1/jobs").json()] == [job]
    assert other.get("/v1/jobs").json() == []
    assert other.get("/v1/service").json()["running"] in (0, 1)  # how many, not which


def test_the_same_key_of_two_tokens_means_two_jobs(client_of: As, photo: bytes) -> None:
    files, key = [("files", ("a.jpg", photo))], {"Idempotency-Key": "mine"}
    first, second = (
        client_of(name).post("/v1/jobs", data={"pipeline": "classify"}, files=files, headers=key).json()["job"]
        for name in ("one", "two")
    )

    assert first != second


def test_each_scope_opens_its_own_doors(client_of: As, photo: bytes) -> None:
    owner, reader, writer, admin = (
        client_of("owner"), client_of("reader", "read"), client_of("writer", "submit"), client_of("admin", "admin")
    )  # fmt: skip
    job = submitted(owner, [("a.jpg", photo)])
    files = [("files", ("a.jpg", photo))]
    image = {"Content-Type": "image/jpeg"}

    assert "not submit" in refused(
        reader.post("/v1/jobs", data={"pipeline": "classify"}, files=files), 403, "scope_missing"
    )
    refused(reader.post("/v1/predict/classify", content=photo, headers=image), 403, "scope_missing")
    refused(reader.delete(f"/v1/jobs/{job}"), 403, "scope_missing")
    refused(reader.post(f"/v1/jobs/{job}/retry"), 403, "scope_missing")
    for path in ("/v1/jobs", f"/v1/jobs/{job}", "/v1/service", "/v1/pipelines", "/v1/models", "/metrics"):
        refused(writer.get(path), 403, "scope_missing")
    assert writer.post("/v1/jobs", data={"pipeline": "classify"}, files=files).status_code == 202
    assert admin.get(f"/v1/jobs/{job}").status_code == 200
    assert {job} <= {one["job"] for one in admin.get("/v1/jobs").json()}
    assert admin.delete(f"/v1/jobs/{job}").status_code == 200


def test_without_a_token_only_health_and_the_page_are_shown(gateway: Gateway, photo: bytes) -> None:
    with httpx.Client(base_url=gateway.url, timeout=30) as nobody:
        for method, path in [*ways_to("20260101-000000-00000000"), ("GET", "/v1/jobs"), ("GET", "/v1/service"),
                             ("GET", "/v1/pipelines"), ("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/jobs"),
                             ("POST", "/v1/predict/classify")]:  # fmt: skip
            answer = nobody.request(method, path)
            refused(answer, 401, "token_missing")
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer", "Bearer x", "Basic eDp4", "bearer pixelmill_\u00e9"):
            refused(nobody.get("/v1/jobs", headers={"Authorization": wrong.encode()}), 401, "token_missing")
        assert nobody.get("/readyz").json()["code"] == "no_worker"
        for open_to_all in ("/healthz", "/", "/app.js", "/v1/openapi.json"):
            assert nobody.get(open_to_all).status_code == 200, open_to_all


def test_a_token_in_the_address_is_none(gateway: Gateway) -> None:
    secret = Tokens(gateway.data / "tokens.json").add("address", ["read"])

    refused(httpx.get(f"{gateway.url}/v1/jobs?token={secret}&access_token={secret}"), 401, "token_missing")
    assert secret not in gateway.log


def test_a_removed_token_is_refused_at_once_and_an_expired_one_too(gateway: Gateway) -> None:
    path = gateway.data / "tokens.json"
    secret = Tokens(path).add("gone", ["read"])
    headers = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{gateway.url}/v1/jobs", headers=headers).status_code == 200

    Tokens(path).remove("gone")

    refused(httpx.get(f"{gateway.url}/v1/jobs", headers=headers), 401, "token_missing")
    short = {"Authorization": f"Bearer {Tokens(path).add('short', ['read'], expires=int(time.time()) - 1)}"}
    assert "expired" in refused(httpx.get(f"{gateway.url}/v1/jobs", headers=short), 401, "token_expired")


def test_who_asks_too_fast_waits_and_others_do_not(client_of: As) -> None:
    fast, other = client_of("fast"), client_of("other")

    answers = [fast.get("/v1/models/none") for _ in range(60)]  # four a second, forty at once

    slowed = [answer for answer in answers if answer.status_code == 429]
    assert slowed
    refused(slowed[0], 429, "too_many_requests")
    assert int(slowed[0].headers["retry-after"]) >= 1
    assert {answer.status_code for answer in answers[:40]} == {404}
    assert other.get("/v1/jobs").status_code == 200


def test_only_an_allowed_page_of_another_site_may_ask(gateway: Gateway, client_of: As) -> None:
    api = client_of("page")
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    allowed = httpx.options(f"{gateway.url}/v1/jobs", headers={"Origin": ORIGIN, **asks})
    foreign = httpx.options(f"{gateway.url}/v1/jobs", headers={"Origin": "https://evil.example", **asks})
    read = api.get("/v1/jobs", headers={"Origin": "https://evil.example"})

    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-origin" not in read.headers


def test_tokens_lie_where_only_their_owner_reads_them_as_hashes(gateway: Gateway) -> None:
    path = gateway.data / "tokens.json"
    secret = Tokens(path).add("hashed", ["read"])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(gateway.data.stat().st_mode) & 0o077 == 0
    assert secret not in path.read_text()
    assert secret.removeprefix("pixelmill_") not in path.read_text()


def test_off_loopback_a_gateway_asks_for_tokens_without_being_told(tmp_path: Path) -> None:
    done = pixelmill("serve", "--embedded", "--host", "0.0.0.0", "--port", "0", "--data", tmp_path / "data")

    assert done.returncode == 1
    assert "nobody could ask: there is no token yet" in done.stderr


def test_a_health_check_needs_no_token_and_notices_that_nobody_answers(gateway: Gateway) -> None:
    here = pixelmill("health", "--gateway", gateway.url)
    nobody = pixelmill("health", "--gateway", "http://127.0.0.1:1", "--timeout", "2")

    assert (here.returncode, here.stdout) == (0, f"healthy: the gateway {gateway.url} answers\n")
    assert nobody.returncode == 1
    assert "does not answer" in nobody.stderr
