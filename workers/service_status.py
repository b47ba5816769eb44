"""How a service is: its broker, its workers, what waits, what runs, what failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.loaded import LoadedModel, loaded_by
from workers.queues import PRIORITIES, WAITING, is_rabbitmq
from workers.registry import Registry
from workers.roll import Roll
from workers.settings import without_password
from workers.status import Status, status_of
from workers.store import JobStore

_JOBS_COUNTED = 200


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker. busy: messages it holds, of `processes`. ready: its consume loop turns and takes messages.

    loaded: the models its processes hold, with the provider that serves. memory_mb: of all its processes.
    unfit: why it has taken itself out; empty if it has not.
    """

    name: str
    processes: int
    busy: int
    ready: bool
    silent_seconds: float
    loaded: tuple[LoadedModel, ...]
    memory_mb: float
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service at one moment.

    waiting, oldest_seconds: shards in the queue by priority, and since when the oldest of them waits.
    images_per_second: of the running jobs, each since it was submitted.
    finished_by_minute: images finished, in jobs or singly, in each of the last sixty minutes, the current one last.
    failed_by_code: images of the last `jobs_counted` jobs.
    """

    broker: str
    server: str
    memory_mb: float
    queue: str
    workers: tuple[WorkerStatus, ...]
    waiting: Mapping[str, int]
    oldest_seconds: Mapping[str, float]
    running: tuple[Status, ...]
    images_per_second: float
    finished_by_minute: tuple[int, ...]
    failed_by_code: Mapping[str, int]
    jobs_counted: int

    def to_json(self) -> dict[str, Any]:
        """The status for scripts."""
        return asdict(self)


def from_json(told: Mapping[str, Any], running: tuple[Status, ...]) -> ServiceStatus:
    """A service's status as a gateway tells it. running: the jobs, as far as they are told."""
    workers = tuple(
        WorkerStatus(**{**one, "loaded": tuple(LoadedModel(**model) for model in one["loaded"])})
        for one in told["workers"]
    )
    minutes = tuple(told["finished_by_minute"])
    return ServiceStatus(**{**told, "workers": workers, "running": running, "finished_by_minute": minutes})


def for_torch(store: JobStore, queue: str) -> dict[str, int]:
    """Shards that wait for a worker with PyTorch; empty if there are none."""
    waiting = sum(store.waiting(queue, WAITING[len(PRIORITIES) :]).values())
    return {"for torch": waiting} if waiting else {}


def service_status(registry: Registry, queue: str, broker: str | None = None) -> ServiceStatus:
    """Ask a service how it is. broker: its URL if it is not the store. Raises redis.RedisError if the store is away."""
    store = registry.store
    info = store.redis.info()
    recent = [status_of(registry, job) for job in registry.jobs(_JOBS_COUNTED)]
    known = [status for status in recent if status is not None]
    running = [status for job in store.running(queue) if (status := status_of(registry, job)) is not None]
    failed: dict[str, int] = {}
    for status in known:
        for code, count in status.failed_by_code.items():
            failed[code] = failed.get(code, 0) + count
    workers = Roll(store, queue).workers()
    loaded = loaded_by(store, queue, {one.name: one.members for one in workers})
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return ServiceStatus(
        broker=without_password(broker or store.url),
        server=f"{'RabbitMQ, state in ' if is_rabbitmq(broker or '') else ''}{name} {version}",
        memory_mb=round(info.get("used_memory", 0) / 2**20, 2),
        queue=queue,
        workers=tuple(
            WorkerStatus(
                one.name,
                one.processes,
                one.busy,
                one.is_ready,
                round(one.silent, 1),
                loaded[one.name],
                one.memory_mb,
                one.unfit,
            )
            for one in workers
        ),
        waiting={str(name): depth for name, depth in store.waiting(queue).items()} | for_torch(store, queue),
        oldest_seconds={key: round(value, 1) for key, value in store.oldest_waiting(queue).items()},
        running=tuple(running),
        images_per_second=round(sum(status.images_per_second for status in running), 2),
        finished_by_minute=tuple(store.finished_by_minute(queue)),
        failed_by_code=failed,
        jobs_counted=len(known),
    )
