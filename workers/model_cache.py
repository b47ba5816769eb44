"""The models a pool process keeps in memory: under a budget in bytes, the least recently used put out first.

A model that a shard uses is never put out, so a process may hold more than the budget for as long as it uses more; one
that is larger than the budget by itself is loaded all the same, and is then the only one that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from workers import metrics
from workers.limits import resident_bytes

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline

# The shipped models take 1.1 to 6.3 times their files (docs/decisions/0021-model-cache.md). What grew beyond that was
# something else: a library at its first use, or another thread.
_MOST_TIMES_ITS_FILES = 8


@dataclass(slots=True)
class Held:
    """A model in memory. bytes: what it takes. users: how many use it now."""

    pipeline: Pipeline
    bytes: int
    users: int = 0


class ModelCache:
    """The models of one process; thread-safe. One is loaded at a time, and who wants another waits for it."""

    def __init__(self, budget: int) -> None:
        """budget: bytes; 0: only what is in use, or was last."""
        self._budget = budget
        self._held: dict[str, Held] = {}  # the most recently used last
        self._lock = Lock()

    @contextmanager
    def use(self, key: str, files: Callable[[], int], load: Callable[[], Pipeline]) -> Iterator[Pipeline]:
        """Give the pipeline of this key, loaded if it is not held, and keep it until the context is left.

        files: gives the bytes of its model files, the least it is reckoned to take. Raises what `load` does.
        """
        with self._lock:
            held = self._held.pop(key, None)
            if held is None:
                least = files()
                self._make_room(least)
                held = _load(least, load)
            self._make_room(held.bytes)  # it took more than its files; or others were held beside it while in use
            self._held[key] = held
            held.users += 1
        try:
            yield held.pipeline
        finally:
            with self._lock:
                held.users -= 1

    def held(self) -> tuple[Held, ...]:
        """What is held, the least recently used first."""
        with self._lock:
            return tuple(self._held.values())

    def _make_room(self, wanted: int) -> None:
        """Put out what is not in use, the least recently used first, until so many bytes fit or nothing is left."""
        for key, one in list(self._held.items()):
            if sum(other.bytes for other in self._held.values()) + wanted <= self._budget:
                return
            if not one.users:
                del self._held[key]
                metrics.model_evicted(one.pipeline.card.name)


def _load(files: int, load: Callable[[], Pipeline]) -> Held:
    """Load a model and measure what it takes: by how much the process grew, but no less than its files.

    Memory that earlier work freed is given back first, or the model would grow into it unseen.
    """
    from pipelines.memory import release_free_memory

    release_free_memory()
    before = resident_bytes()
    pipeline = load()
    grown = resident_bytes() - before
    metrics.model_loaded(pipeline.card.name)
    return Held(pipeline, max(files, min(grown, _MOST_TIMES_ITS_FILES * files)))
