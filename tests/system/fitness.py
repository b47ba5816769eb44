"""Make a worker unfit from outside, and read what it says about itself."""

from __future__ import annotations

import resource
from typing import Protocol

import psutil

from tests.system.service import QUEUE
from workers.roll import Roll, Worker
from workers.store import JobStore


class Store(Protocol):
    """A server with the state of a service."""

    @property
    def url(self) -> str:
        """Its URL."""


def limit_files(worker: psutil.Process, size: int) -> None:
    """Let no file of this worker grow beyond a size, as on a disk of its own that is full."""
    for process in (worker, *worker.children(recursive=True)):
        process.rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def said_by(server: Store, worker: psutil.Process) -> Worker | None:
    """What a worker last said about itself."""
    workers = Roll(JobStore(server.url), QUEUE).workers()
    return next((one for one in workers if one.name.startswith(f"pixelmill-{worker.pid}@")), None)


def taken_out(server: Store, worker: psutil.Process) -> Worker | None:
    said = said_by(server, worker)
    return said if said is not None and said.unfit else None
