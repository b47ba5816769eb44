"""Results of a job that ended before its end, merged for whoever looks into its folder."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from workers.errors import OutputError
from workers.journal import settle
from workers.output import claim_output
from workers.registry import Registry
from workers.roots import is_inside
from workers.store import JobStore

STOP_SECONDS = 10.0  # images in work are finished and kept when a job is ended
_POLL_SECONDS = 0.025


def settle_stopped(store: JobStore, job: str, output: Path) -> None:
    """Wait until nothing of an ended job is at work any more, and merge its results. Raises redis.RedisError."""
    deadline = time.monotonic() + STOP_SECONDS
    while store.progress(job).live and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _merge(output, STOP_SECONDS)


class Unsettled:
    """Jobs that somebody ended whose results nobody has merged; looked at now and then, never waited for."""

    def __init__(self, registry: Registry, queue: str, roots: tuple[Path, ...]) -> None:
        self._registry, self._roots, self._key = registry, roots, unsettled_key(queue)

    def settle(self) -> None:
        """Merge the results of those that are at work no more. Raises redis.RedisError."""
        store = self._registry.store
        for job in store.redis.smembers(self._key):
            head, progress = self._registry.head(job), store.progress(job)
            if head is not None:
                waited = self._registry.now() - (head.ended or math.inf)
                if progress.state == "running" or (progress.live and waited < STOP_SECONDS):
                    continue
                output = Path(head.spec.output)
                if is_inside(output, self._roots):
                    _merge(output, 0.0)
            store.redis.srem(self._key, job)


def unsettled_key(queue: str) -> str:
    """Set of jobs whose results are to be merged once nothing of them is at work."""
    return f"pixelmill-service:{queue}:unsettled"


def _merge(output: Path, patience: float) -> None:
    if output.is_dir():  # else its next job, or a client that sees the folder, merges them
        with contextlib.suppress(OutputError, OSError), claim_output(output, patience):
            settle(output)  # whoever else holds the folder does it
