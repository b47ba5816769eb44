"""Results of a job that ended before its end, merged for whoever looks into its folder."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from workers.errors import OutputError
from workers.journal import settle
from workers.output import claim_output
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
    """Jobs that were ended here and whose results nobody has merged; looked at now and then, never waited for."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots
        self._since: dict[str, tuple[Path, float]] = {}

    def add(self, job: str, output: Path) -> None:
        """Remember a job, unless its folder is none of ours."""
        if is_inside(output, self._roots):
            self._since[job] = output, time.monotonic()

    def settle(self, store: JobStore) -> None:
        """Merge the results of those that are at work no more. Raises redis.RedisError."""
        for job, (output, since) in list(self._since.items()):
            if not store.progress(job).live or time.monotonic() - since > STOP_SECONDS:
                _merge(output, 0.0)
                del self._since[job]


def _merge(output: Path, patience: float) -> None:
    if output.is_dir():  # else its next job, or a client that sees the folder, merges them
        with contextlib.suppress(OutputError, OSError), claim_output(output, patience):
            settle(output)  # whoever else holds the folder does it
