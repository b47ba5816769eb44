"""The workers of a service, as each last answered for itself from its consume loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.store import JobStore

GONE_SECONDS = 15.0  # a worker that has not answered for so long is taken off the roll
STALE_SECONDS = 5.0  # one that has not answered for so long is not ready: its consume loop stands still
UNPOLLED_SECONDS = 10.0  # nor is one that is free and has not looked into the queues for so long


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker. silent: seconds since it answered. idle_for: since it, being free, looked into the queues.

    busy: messages it holds, out of `processes`. members: its pool processes, by `workers.loaded.process_name`.
    memory_mb: of all its processes. held: messages no process was free for yet. optimises: it has PyTorch.
    unfit: why it has taken itself out; empty if it has not.
    """

    name: str
    silent: float
    idle_for: float
    processes: int
    busy: int
    members: tuple[str, ...] = ()
    memory_mb: float = 0.0
    held: int = 0
    optimises: bool = False
    unfit: str = ""

    @staticmethod
    def of(name: str, silent: float, about: Mapping[str, Any]) -> Worker:
        """Understand what a worker says about itself."""
        counts = about["idle_for"], about["processes"], about["busy"]
        members, memory, held = tuple(about.get("members", ())), about.get("memory_mb", 0.0), about.get("held", 0)
        return Worker(
            name, silent, *counts, members, memory, held, bool(about.get("optimises")), about.get("unfit", "")
        )

    @property
    def is_ready(self) -> bool:
        """Whether its loop turns and takes messages; a process that merely lives is not ready."""
        return self.silent < STALE_SECONDS and self.idle_for < UNPOLLED_SECONDS and not self.unfit


class Pulse:
    """What the consume loop of this process last said about itself, and when (monotonic seconds)."""

    worker: Worker | None = None
    at = 0.0


class Roll:
    """Who works for a queue."""

    def __init__(self, store: JobStore, queue: str) -> None:
        self._redis = store.redis
        self._key = f"pixelmill-service:{queue}:workers"

    def answer(self, name: str, about: dict[str, Any]) -> None:
        """Say that this worker's loop turns."""
        now = self._now()
        self._redis.hset(self._key, name, json.dumps({**about, "at": now}))
        self._redis.expire(self._key, int(GONE_SECONDS))

    def workers(self) -> list[Worker]:
        """Who has answered lately, by name."""
        now = self._now()
        found = []
        for name, text in sorted(self._redis.hgetall(self._key).items()):
            about = json.loads(text)
            silent = max(0.0, now - about["at"])
            if silent > GONE_SECONDS:
                self._redis.hdel(self._key, name)
            else:
                found.append(Worker.of(name, silent, about))
        return found

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return float(seconds + micros / 1e6)
