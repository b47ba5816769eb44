"""A client that is closed leaves no connection, as the server counts them, and says so when it is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import clients
from tests.system.clients import IMAGES
from tests.system.processes import drawn, until
from workers import Client, connect
from workers.embedded import EmbeddedBroker
from workers.errors import JobError, WaitTimeoutError
from workers.remote import RemoteClient
from workers.store import JobStore

pytestmark = pytest.mark.service

# fixtures
place, url, output = clients.place, clients.url, clients.output

CALLS: dict[str, Callable[[Any], object]] = {
    "ping": lambda client: client.ping(),
    "submit": lambda client: client.submit("classify", b"picture", output="out"),
    "run": lambda client: client.run("classify", b"picture"),
    "status": lambda client: client.status("20261124-101500-1a2b3c4d"),
    "waiting": lambda client: client.waiting(),
    "service": lambda client: client.service(),
    "list": lambda client: client.list(),
    "wait": lambda client: client.wait("20261124-101500-1a2b3c4d"),
    "results": lambda client: next(client.results("20261124-101500-1a2b3c4d")),
    "cancel": lambda client: client.cancel("20261124-101500-1a2b3c4d"),
    "retry": lambda client: client.retry("20261124-101500-1a2b3c4d"),
}


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A server that nobody else uses."""
    broker = EmbeddedBroker(tmp_path / "valkey")
    yield broker
    broker.stop()


def connections(store: JobStore) -> int:
    return len(store.redis.client_list())


def test_a_client_leaves_no_connection_whatever_it_did(lonely: EmbeddedBroker, tmp_path: Path) -> None:
    store = JobStore(lonely.url)
    before = connections(store)

    with connect(lonely.url) as client:
        photo = drawn(tmp_path / "a.jpg")
        job = client.submit("classify", photo, output=tmp_path / "out")
        with pytest.raises(WaitTimeoutError):  # nobody works here
            client.run("classify", photo, timeout=0.1)
        with pytest.raises(WaitTimeoutError):
            client.wait(job, timeout=0)
        client.cancel(job)
        while_open = connections(store)

    assert while_open >= before + 2  # the store and the broker
    until(lambda: connections(store) == before, "the server has seen every connection end")


def test_a_client_that_has_done_everything_leaves_the_connections_of_another_alone(
    url: str, place: Path, output: Path
) -> None:
    with Client(url) as staying, Client(url) as client:
        photo = drawn(place / "one.jpg", seed=1)
        staying.run("classify", photo)
        job = client.submit("classify", place / "photos", output=output)
        results = len(list(client.results(job)))
        line = client.run("classify", photo)
        client.close()
        client.close()
        again = staying.run("classify", photo)
        state = staying.status(job).state

    assert results == IMAGES
    assert state == "done"
    assert line["status"] == again["status"] == "ok"


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_client_says_so(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for client in (Client("redis://127.0.0.1:1"), RemoteClient("http://127.0.0.1:1")):
        client.close()

        with pytest.raises(JobError, match="this client is closed: make another one"):
            CALLS[call](client)

    assert list(tmp_path.iterdir()) == []


def test_every_verb_is_tried() -> None:
    verbs = {name for name in vars(Client) if not name.startswith("_")}

    assert verbs - set(CALLS) == {"close", "submit_request"}
