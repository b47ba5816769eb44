"""Which models the pool processes of a service hold, and the provider that really serves each; as they told last.

    pixelmill-service:<queue>:loaded    hash: place and process id → JSON

Only the process knows what it has loaded, and only its worker's parent knows that it still lives; both tell the store,
and who asks puts the two together.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.jobs import place
from workers.store import KEEP_SECONDS, JobStore

if TYPE_CHECKING:
    from workers.model_cache import Held

AGAIN_SECONDS = 5.0  # a store that lost its data is told again
_STALE_SECONDS = 60.0  # what a process told that no worker owns is dropped


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory. provider: the one that serves it, whatever was asked for.

    processes: how many hold it. bytes: what it takes in all of them.
    """

    pipeline: str
    model: str
    provider: str
    processes: int = 1
    bytes: int = 0


class Teller:
    """Tells what this process holds, when that has changed or some time has passed."""

    def __init__(self) -> None:
        self._told: tuple[int, tuple[LoadedModel, ...]] | None = None
        self._at = 0.0

    def tell(self, store: JobStore, queue: str, held: Iterable[Held]) -> None:
        """Tell the store. Raises redis.RedisError."""
        models = tuple(
            LoadedModel(
                one.pipeline.params.pipeline, one.pipeline.card.name, one.pipeline.session.provider, 1, one.bytes
            )
            for one in held
        )
        now = time.monotonic()
        if self._told == (os.getpid(), models) and now - self._at < AGAIN_SECONDS:
            return
        rows = [[one.pipeline, one.model, one.provider, one.bytes] for one in models]
        told = json.dumps({"at": store.redis.time()[0], "models": rows})
        pipe = store.redis.pipeline()
        pipe.hset(loaded_key(queue), process_name(os.getpid()), told)
        pipe.expire(loaded_key(queue), KEEP_SECONDS)
        pipe.execute()
        self._told, self._at = (os.getpid(), models), now


def loaded_by(store: JobStore, queue: str, workers: Mapping[str, Iterable[str]]) -> dict[str, tuple[LoadedModel, ...]]:
    """What each worker's processes hold. workers: name → its processes, by `process_name`.

    Drops what a process told that is nobody's any more.
    """
    now = store.redis.time()[0]
    told = {name: json.loads(text) for name, text in store.redis.hgetall(loaded_key(queue)).items()}
    owned = {process for processes in workers.values() for process in processes}
    stale = [name for name, one in told.items() if name not in owned and now - one["at"] > _STALE_SECONDS]
    if stale:
        store.redis.hdel(loaded_key(queue), *stale)
    found = {}
    for worker, processes in workers.items():
        rows = [tuple(row) for process in processes for row in told.get(process, {"models": ()})["models"]]
        counts: Counter[tuple[str, str, str]] = Counter()
        sizes: Counter[tuple[str, str, str]] = Counter()
        for pipeline, model, provider, *size in rows:
            counts[pipeline, model, provider] += 1
            sizes[pipeline, model, provider] += sum(size)  # a worker of an earlier version tells none
        found[worker] = tuple(LoadedModel(*one, count, sizes[one]) for one, count in sorted(counts.items()))
    return found


def loaded_key(queue: str) -> str:
    """Hash of what each process told."""
    return f"pixelmill-service:{queue}:loaded"


def process_name(pid: int) -> str:
    """A process of this machine, or container, as others name it."""
    return f"{place()}:{pid}"
