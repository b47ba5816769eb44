"""A gateway whose service is slow, full or away: who waits keeps nobody else, and nothing is taken that is not kept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

pytest.importorskip("fastapi")

from tests.system.gateways import Gateway, refused, submitted
from tests.system.processes import drawn, until
from workers.embedded import EmbeddedBroker
from workers.store import JobStore

PLACES, ASKED = 100, 130


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, EmbeddedBroker]]:
    """A gateway before a broker without a worker: whoever asks waits."""
    yield from started(tmp_path_factory.mktemp("waiting"))


def started(folder: Path) -> Iterator[tuple[Gateway, EmbeddedBroker]]:
    broker = EmbeddedBroker(folder / "broker")
    gateway = Gateway(folder, "--max-waiting", str(PLACES), broker=broker.url)
    yield gateway, broker
    gateway.kill()
    broker.stop()


@pytest.fixture
def gateway(service: tuple[Gateway, EmbeddedBroker]) -> Gateway:
    return service[0]


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return drawn(tmp_path / "photo.jpg", 3).read_bytes()


async def answers_while_all_places_are_taken(gateway: Gateway, photo: bytes) -> list[httpx.Response]:
    """Let many more ask than there are places; give the refusals, once all places are held and all else was tried."""
    limits = httpx.Limits(max_connections=ASKED + 20)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits) as client:

        async def predict() -> httpx.Response:
            headers = {"Content-Type": "image/jpeg"}
            return await client.post("/v1/predict/classify?deadline=60", content=photo, headers=headers)

        waiting = {asyncio.ensure_future(predict()) for _ in range(ASKED)}
        turned_away: list[httpx.Response] = []
        while len(turned_away) < ASKED - PLACES:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            turned_away += [one.result() for one in done]
        try:
            await others_are_served(client, photo)
        finally:
            assert not any(one.done() for one in waiting)
            for one in waiting:
                one.cancel()
        return turned_away


async def others_are_served(client: httpx.AsyncClient, photo: bytes) -> None:
    for path in ("/healthz", "/v1/jobs", "/v1/service", "/v1/pipelines"):
        assert (await client.get(path)).status_code == 200, path
    answer = await client.post("/v1/jobs", data={"pipeline": "classify"}, files=[("files", ("a.jpg", photo))])
    assert answer.status_code == 202, answer.text
    async with client.stream("GET", f"/v1/jobs/{answer.json()['job']}/events") as stream:
        async for text in stream.aiter_lines():
            if text.startswith("data: "):
                return
    raise AssertionError("the event stream ended without an event")


def test_a_hundred_waiting_pictures_keep_nobody_else_and_more_are_turned_away(
    service: tuple[Gateway, EmbeddedBroker], photo: bytes
) -> None:
    gateway, broker = service

    turned_away = asyncio.run(answers_while_all_places_are_taken(gateway, photo))

    assert len(turned_away) == ASKED - PLACES
    for answer in turned_away:
        refused(answer, 503, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
    store = JobStore(broker.url)  # those that waited have left, and their pictures with them
    until(lambda: not store.redis.keys("*:upload:*") and store.waiting("pixelmill")["high"] == 0, "nobody waits")


@pytest.mark.parametrize("what", ["events", "results?format=ndjson"])
def test_a_listener_that_vanishes_is_forgotten(gateway: Gateway, photo: bytes, what: str) -> None:
    process = psutil.Process(gateway.process.pid)
    host, port = gateway.address
    with httpx.Client(base_url=gateway.url, timeout=30) as api:
        job = submitted(api, [("a.jpg", photo)])
        lines = process.num_fds()
        for _ in range(5):
            with socket.create_connection((host, port)) as line:
                line.sendall(f"GET /v1/jobs/{job}/{what} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                assert b"200 OK" in line.recv(100)

        until(lambda: process.num_fds() <= lines, "the gateway has let go of the listeners")


def test_a_picture_that_is_not_answered_in_time_leaves_the_store(
    service: tuple[Gateway, EmbeddedBroker], photo: bytes
) -> None:
    gateway, broker = service
    headers = {"Content-Type": "image/jpeg"}

    answer = httpx.post(f"{gateway.url}/v1/predict/classify?deadline=0.3", content=photo, headers=headers, timeout=30)

    refused(answer, 504, "deadline_exceeded")
    store = JobStore(broker.url)
    assert store.waiting("pixelmill")["high"] == 0
    assert not store.redis.keys("*:upload:*")


def test_a_slow_body_does_not_hold_a_place_for_ever(gateway: Gateway) -> None:
    host, port = gateway.address
    with socket.create_connection((host, port), timeout=30) as line:
        head = f"POST /v1/predict/classify?deadline=0.3 HTTP/1.1\r\nHost: {host}:{port}\r\n"
        line.sendall(head.encode() + b"Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nslow")
        said = line.recv(1000)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in said


def test_while_the_broker_is_down_everything_is_refused_at_once_and_nothing_is_kept(
    photo: bytes, tmp_path: Path
) -> None:
    service = started(tmp_path)
    gateway, broker = next(service)
    with httpx.Client(base_url=gateway.url, timeout=30) as api:
        job = submitted(api, [("a.jpg", photo)])
        before = gateway.kept()
        broker.stop(keep=True)

        upload = api.post("/v1/jobs", data={"pipeline": "classify"}, files=[("files", ("b.jpg", photo))],
                          headers={"Idempotency-Key": "again"})  # fmt: skip
        seeds = api.post("/v1/jobs", json={"pipeline": "generate", "count": 2})
        predict = api.post("/v1/predict/classify", content=photo, headers={"Content-Type": "image/jpeg"})
        looks = [api.get(path) for path in ("/v1/jobs", f"/v1/jobs/{job}/events")]
        end = api.delete(f"/v1/jobs/{job}")

        for answer in (upload, seeds, predict, *looks, end):
            refused(answer, 503, "broker_away")
            assert int(answer.headers["retry-after"]) > 0
            assert answer.elapsed.total_seconds() < 10
        assert gateway.kept() == before
        assert api.get("/healthz").status_code == 200
        assert api.get("/v1/pipelines").status_code == 200
    next(service, None)
