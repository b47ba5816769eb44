"""Time and memory that one image may take in a pool process.

A thread can't be made to stop in the middle of a decoder, so the process ends itself: with the cause written down, and
the images it was at work on. Celery's parent starts another and gives the shard back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from workers.earlier import OVER_MEMORY, OVER_TIME

EXIT_OVER_LIMIT = 70
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What an attempt may take.

    image_seconds: one image. growth_bytes: memory over what the process had when it began; 0: no limit.
    shard_seconds: the whole shard; a process that comes near puts the rest back.
    """

    image_seconds: float = 120.0
    growth_bytes: int = 4 * 2**30
    shard_seconds: float = 600.0


class Watchdog:
    """Watches over the images in work; a context. `over` is called with the cause and the images it is blamed on."""

    def __init__(self, limits: Limits, over: Callable[[str, list[str]], None]) -> None:
        self._limits, self._over = limits, over
        self._since: dict[str, float] = {}
        self._lock = Lock()
        self._ended = Event()
        self._baseline = resident_bytes()

    def begin(self, name: str) -> None:
        """An image is in work from now on."""
        with self._lock:
            self._since[name] = time.monotonic()

    def end(self, name: str) -> None:
        """It is no more."""
        with self._lock:
            self._since.pop(name, None)

    def __enter__(self) -> Watchdog:
        Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with self._lock:
                in_work = dict(self._since)
            now = time.monotonic()
            late = [name for name, since in in_work.items() if now - since > self._limits.image_seconds]
            grown = resident_bytes() - self._baseline
            if late:
                self._over(f"{OVER_TIME} {self._limits.image_seconds:g} s", late)
            elif in_work and 0 < self._limits.growth_bytes < grown:
                allowed = self._limits.growth_bytes / 2**20
                cause = f"{OVER_MEMORY}: {grown / 2**20:.0f} MB more than with the model alone, {allowed:.0f} allowed"
                self._over(cause, list(in_work))
            else:
                continue
            return


def resident_bytes(pid: int | str = "self") -> int:
    """Memory a process occupies, this one if none is named; 0 where that can't be known (gone, or not Linux)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
