"""Feed jobs' images to the queue, shard by shard.

No more than a window of a job's shards is submitted at a time, so that a job of a million images needs no more memory
in the client, the broker and the store than a job of a thousand. Any number of processes may feed one job: a shard is
opened by whoever moves the job's cursor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.jobs import Close, JobSpec, Shard
from workers.manifest import Entry, read_entries
from workers.publish import publish
from workers.queues import queue_for, queue_of
from workers.registry import Head, Registry

if TYPE_CHECKING:
    from celery import Celery

WINDOW = 128  # shards submitted and not ended


def cut(
    names: Iterator[str], largest: int, remaining: Callable[[], int | None], hands: int
) -> Iterator[tuple[str, ...]]:
    """Cut a stream of names into shards.

    The first shards are small, so that the first result comes soon and every hand gets work; the last ones too, so that
    no hand works on a large shard while the others are done (guided self-scheduling, Polychronopoulos and Kuck 1987).
    largest: most images in a shard. remaining: images still to come, None while that is not known. hands: threads that
    work at once.
    """
    ramp = 1
    batch: list[str] = []
    size = 1
    for name in names:
        batch.append(name)
        if len(batch) >= size:
            yield tuple(batch)
            batch = []
            ramp = min(largest, ramp * 2)
            left = remaining()
            size = ramp if left is None else max(1, min(ramp, -(-left // (3 * hands))))
    if batch:
        yield tuple(batch)


class Feeder:
    """Submits the shards of jobs; `workers.sweep` brings back those whose worker died."""

    def __init__(self, app: Celery, registry: Registry, queue: str) -> None:
        self._app = app
        self._registry = registry
        self._store = registry.store
        self._queue = queue

    def feed(self, head: Head, open_shards: int) -> int:
        """Submit a job's next shards, as far as they are listed, until its window is full.

        open_shards: how many were open after the head was read: if nobody moved the cursor since, none was added.
        Returns how many were submitted; if somebody else feeds the same job, fewer than there was room for.
        Raises OSError or OutputError if the list of its images can't be read, BrokerError if the broker is away.
        """
        job, number = head.spec.job, head.fed
        limit = head.spec.concurrency  # a shard that was put back is open, so no more processes than that have one
        window = WINDOW if limit is None else min(WINDOW, limit)
        entries = self._entries(head)
        while not head.is_fed and open_shards < window and (entry := next(entries, None)) is not None:
            shard = Shard(spec=head.spec, number=number, images=entry.images)
            message = _message("pixelmill.shard", shard.model_dump(mode="json"))
            if not self._registry.advance(job, number, entry.end, shard.key, message, limit or 0):
                break
            queue = queue_of(self._queue, head.spec.pipeline, head.spec.priority)
            publish(self._app, queue, message)
            number, open_shards = number + 1, open_shards + 1
        return number - head.fed

    def _entries(self, head: Head) -> Iterator[Entry]:
        try:
            yield from read_entries(Path(head.spec.output), head.spec.job, head.offset)
        except FileNotFoundError:
            if head.shards is not None:  # else its client is only about to begin the list
                raise

    def close(self, spec: JobSpec, summary: dict[str, Any]) -> None:
        """Submit a job's last message."""
        close = Close(spec=spec, summary=summary)
        message = _message("pixelmill.close", close.model_dump(mode="json"))
        self._store.open(spec.job, close.key, message)
        publish(self._app, queue_for(self._queue, spec.priority), message)


def _message(task: str, payload: dict[str, Any]) -> str:
    return json.dumps({"task": task, "payload": payload})
