"""Flower as docker-compose.yml starts it, outside a container: it must bear our workers, and may only look at them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests import rabbitmq_server, redis_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer, free_port
from tests.system.processes import descendants, drawn, environment, until
from tests.system.service import QUEUE, worker_on
from workers import Client
from workers.queues import queues_of

pytestmark = pytest.mark.service

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
PASSWORD = "0123abcd"
IMAGES = 4


@dataclass
class Watched:
    """A service with one worker, and a Flower that looks at it."""

    name: str
    client: Client
    folder: Path
    worker: psutil.Process
    port: int
    flower: httpx.Client

    def ask(self, path: str) -> Any:
        return self.flower.get(path).raise_for_status().json()

    def tasks(self) -> dict[str, dict[str, Any]]:
        """The last task of each name."""
        return {task["name"]: task for task in self.ask("/api/tasks").values()}


@dataclass(frozen=True)
class Addresses:
    broker: str
    url: str


def flower_in_compose() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["flower"]
    return service


def started_flower(broker: str, port: int, password: str) -> subprocess.Popen[str]:
    """The file's own command and variables, on a port of this machine."""
    service = flower_in_compose()
    script = service["command"][-1].replace("$$", "$").replace("0.0.0.0", "127.0.0.1").replace("5555", str(port))
    variables = {**service["environment"], "CELERY_BROKER_URL": broker, "PAGE_PASSWORD": password}
    variables["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["sh", "-c", script], env=environment(**variables), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it said."""
    family = descendants(process.pid)
    process.terminate()
    try:
        said = process.communicate(timeout=20)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1]
    for one in psutil.wait_procs(family, timeout=5)[1]:
        one.kill()
    return said


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if redis_server.BINARY is None or (request.param == "rabbitmq" and rabbitmq_server.BINARY is None):
        pytest.skip(f"no {request.param} here; apt-get install redis-server rabbitmq-server")
    folder = tmp_path_factory.mktemp("flower")
    redis = RedisServer(folder / "redis", password="s3cret")
    rabbit = RabbitServer(folder / "rabbitmq") if request.param == "rabbitmq" else None
    redis.start()
    if rabbit is not None:
        rabbit.start()
    addresses = Addresses(redis.url if rabbit is None else rabbit.url, redis.url)
    for number in range(IMAGES):
        drawn(folder / "photos" / f"{number}.jpg", seed=number)
    port = free_port()
    with worker_on(addresses, folder, PIXELMILL_STORE=redis.url) as worker:  # type: ignore[arg-type]
        process = started_flower(addresses.broker, port, PASSWORD)
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("pixelmill", PASSWORD), timeout=30) as flower,
            Client(addresses.broker, addresses.url) as client,
        ):
            until(lambda: process.poll() is not None or answers(flower), "Flower answers")
            yield Watched(request.param, client, folder, worker, port, flower)
        print(ended(process))
    if rabbit is not None:
        rabbit.stop()
    redis.stop()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").status_code == 200
    except httpx.HTTPError:
        return False


def test_it_lists_the_worker_and_every_task_it_does(watched: Watched) -> None:
    name = until(lambda: next(iter(watched.ask("/api/workers?status=1")), None), "it has heard of the worker")
    assert name.startswith(f"pixelmill-{watched.worker.pid}@")
    assert watched.ask("/api/workers?status=1") == {name: True}

    def saw_a_picture() -> bool:  # it asks workers every five seconds to tell of their tasks
        watched.client.run("classify", watched.folder / "photos" / "0.jpg")
        return "pixelmill.picture" in watched.tasks()

    until(saw_a_picture, "it has switched on events of tasks")
    job = watched.client.submit("classify", watched.folder / "photos", output=watched.folder / "out")
    assert watched.client.wait(job, timeout=90).state == "done"

    until(lambda: watched.tasks().get("pixelmill.close", {}).get("state") == "SUCCESS", "it has seen the job's end")
    shard = watched.tasks()["pixelmill.shard"]
    assert shard["state"] == "SUCCESS"
    assert job in shard["args"]
    row = watched.ask("/workers?json=1")["data"][0]
    assert (row["hostname"], row["status"]) == (name, True)


def test_it_knows_our_queues_and_on_redis_their_lengths(watched: Watched) -> None:
    def queues() -> set[str]:
        about = watched.ask("/api/workers?refresh=1")
        return {queue["name"] for worker in about.values() for queue in worker.get("active_queues", ())}

    assert until(queues, "it has asked the worker") == set(queues_of(QUEUE))
    told = {one["name"]: one["messages"] for one in watched.ask("/api/queues/length")["active_queues"]}
    # RabbitMQ tells lengths over its management plug-in alone, which is not switched on
    assert told == (dict.fromkeys(queues_of(QUEUE), 0) if watched.name == "redis" else {})


def test_nobody_gets_in_without_the_password(watched: Watched) -> None:
    for path in ("/", "/workers", "/tasks", "/api/workers", "/api/tasks"):
        answer = httpx.get(f"http://127.0.0.1:{watched.port}{path}", timeout=30)
        assert answer.status_code == 401, path


def test_it_can_not_end_a_worker_or_send_a_task(watched: Watched) -> None:
    name = until(lambda: next(iter(watched.ask("/api/workers?status=1")), None), "it has heard of the worker")

    for path in (f"/api/worker/shutdown/{name}", f"/api/worker/pool/restart/{name}",
                 "/api/task/send-task/pixelmill.shard", "/api/task/revoke/1"):  # fmt: skip
        answer = watched.flower.post(path, json={"args": []})
        assert (answer.status_code, answer.text) == (403, "Read only mode is enabled"), path
    assert watched.worker.is_running()


def test_its_health_check_tells_one_that_answers_from_none(watched: Watched) -> None:
    words = flower_in_compose()["healthcheck"]["test"]
    assert words[:3] == ["CMD", "python", "-c"]

    def healthy(port: int) -> bool:
        script = words[3].replace("5555", str(port))
        return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0

    assert healthy(watched.port)
    assert not healthy(free_port())


def test_without_a_password_it_does_not_start_and_says_where_to_set_it() -> None:
    process = started_flower("redis://127.0.0.1:1/0", free_port(), "")

    _, said = process.communicate(timeout=60)

    assert process.returncode != 0
    assert "set PIXELMILL_FLOWER_PASSWORD in .env, see .env.example" in said
