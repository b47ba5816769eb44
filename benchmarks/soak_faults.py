"""What the soak does to a service: a seeded choice of kills, freezes, cuts and full disks, given back in time.

It has a thread of its own, since the soak's client may have to wait for a server that is frozen.
"""

from __future__ import annotations

import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Event, Thread

import psutil
import redis

from benchmarks.soak_service import Service, family_of
from workers.errors import BrokerError


class Saboteur:
    """Does one thing after the other to a service, and gives back in time what it took away for a while.

    struck: how often each fault was done.
    """

    def __init__(self, service: Service, seed: int) -> None:
        self._service, self._dice = service, random.Random(seed)
        self.struck: Counter[str] = Counter()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._next = time.monotonic() + 3
        self._down = False  # a server is away: one at a time
        self._ended = Event()
        self._thread = Thread(target=self._run, name="saboteur", daemon=True)
        self._faults: dict[str, Callable[[], None]] = {
            "SIGKILL of a pool process": lambda: self._child().kill(),
            "SIGKILL of a whole worker": self._kill_worker,
            "SIGSTOP of a pool process": lambda: self._freeze(self._child()),
            "SIGSTOP of a whole worker": lambda: self._freeze(*family_of(self._worker())),
            "no file may grow (a quota)": self._set_quota,
            **({"the output disk is full": self._fill_disk} if service.disk.is_small else {}),
            **self._on_servers(service.servers.faults()),
        }

    def __enter__(self) -> Saboteur:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give everything back, and do nothing any more."""
        self._ended.set()
        self._thread.join()
        for _, undo in self._later:
            undo()
        self._later = []

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            self._act()

    def _act(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        due = [undo for when, undo in self._later if when <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for undo in due:
            undo()
        if now >= self._next:
            name = self._dice.choice(list(self._faults))
            self._next = now + self._dice.uniform(1.5, 5.0)
            try:
                self._faults[name]()
            except (psutil.Error, redis.RedisError, LookupError, BrokerError, OSError):
                return  # whom it should have struck has just died of another
            self.struck[name] += 1
            print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)

    def _on_servers(
        self, faults: Mapping[str, tuple[Callable[[], None], Callable[[], None]]]
    ) -> dict[str, Callable[[], None]]:
        def done(strike: Callable[[], None], mend: Callable[[], None]) -> Callable[[], None]:
            def mended() -> None:
                self._down = False
                mend()

            def fault() -> None:
                if self._down:
                    raise LookupError("a server is away already")
                strike()
                self._down = True
                self._later.append((time.monotonic() + self._dice.uniform(0, 3), mended))

            return fault

        return {name: done(*both) for name, both in faults.items()}

    def _worker(self) -> psutil.Process:
        return self._dice.choice(self._service.workers)

    def _child(self) -> psutil.Process:
        return self._dice.choice(self._worker().children())

    def _kill_worker(self) -> None:
        for process in family_of(self._worker()):
            process.kill()

    def _freeze(self, *processes: psutil.Process) -> None:
        def thaw() -> None:
            for process in processes:
                if process.is_running():
                    process.resume()

        for process in processes:
            process.suspend()
        self._later.append((time.monotonic() + self._dice.uniform(1, 12), thaw))

    def _fill_disk(self) -> None:
        self._service.disk.fill()
        self._later.append((time.monotonic() + self._dice.uniform(0.5, 4), self._service.disk.clear))

    def _set_quota(self) -> None:
        processes = family_of(self._worker())

        def limit(soft: int) -> None:
            for process in processes:
                if process.is_running():
                    process.rlimit(psutil.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

        limit(0)
        self._later.append((time.monotonic() + self._dice.uniform(0.5, 4), lambda: limit(resource.RLIM_INFINITY)))
