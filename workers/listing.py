"""Listing a job's images: find them, leave out what is finished, write the rest to the manifest, shard by shard."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from workers.errors import JobError
from workers.feeder import cut
from workers.folder import Source
from workers.jobs import JobSpec
from workers.journal import Finished
from workers.manifest import ManifestWriter
from workers.registry import Registry

_TELL_SECONDS = 0.5  # between two signs of life
_COUNT_SECONDS = 0.3  # what a count may take before listing begins without it


class Listing:
    """The list of a job's images, while it is made; its counters may be read by another thread.

    total: images there are, finished ones included; None while that is not known. kept: finished already.
    images: listed to be computed. failure: what ended it early, if it ran in a thread of its own.
    """

    def __init__(
        self,
        spec: JobSpec,
        source: Source,
        finished: Finished,
        *,
        largest: int,
        hands: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.spec, self._source, self._finished = spec, source, finished
        self._largest, self._hands, self._cancelled = largest, hands, cancelled
        self.total: int | None = None
        self.scanned = self.kept = self.images = 0
        self.complete = False
        self.failure: Exception | None = None

    def write(self, registry: Registry) -> None:
        """Make the list, and tell the service how far it is.

        Raises SourceError if the input can't be read any more, OSError if the list can't be written.
        """
        count = threading.Thread(target=self._count, daemon=True)
        count.start()
        count.join(_COUNT_SECONDS)  # the last shards of a job are cut small if it is known where they begin
        spec, told = self.spec, time.monotonic()
        with ManifestWriter(Path(spec.output), spec.job) as manifest:
            for shard in cut(self._names(), self._largest, self._left, self._hands):
                manifest.append(shard)
                self.images = manifest.images
                if time.monotonic() - told > _TELL_SECONDS:
                    registry.listing(spec.job, self.images, self.kept)
                    told = time.monotonic()
        if not self._cancelled():
            self.total = self.scanned
            registry.listing(spec.job, self.images, self.kept, manifest.shards)
            self.complete = True

    def start(self, registry: Registry) -> threading.Thread:
        """Make the list in a thread of its own; `failure` tells what went wrong."""

        def write() -> None:
            try:
                self.write(registry)
            except (JobError, OSError, redis.RedisError) as error:
                self.failure = error

        thread = threading.Thread(target=write, name="listing", daemon=True)
        thread.start()
        return thread

    def _names(self) -> Iterator[str]:
        for found in self._source.scan():
            if self._cancelled():  # a million finished images take a while to pass over
                return
            self.scanned += 1
            if self._finished.covers(found, self._source.root):
                self.kept += 1
            else:
                yield found.name

    def _count(self) -> None:
        with contextlib.suppress(JobError):  # the scan itself meets it too
            self.total = self._source.count()

    def _left(self) -> int | None:
        return None if self.total is None else max(0, self.total - self.scanned)
