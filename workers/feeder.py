"""Feed a job's images to the queue, shard by shard, and watch over the shards until they have ended.

No more than a window of shards is submitted at a time, so that a job of a million images needs no more memory in the
client, the broker and the store than a job of a thousand.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from workers.errors import BrokerError
from workers.jobs import Close, JobSpec, Shard, attempt_is_dead
from workers.store import JobStore, Progress

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

WINDOW = 128  # shards submitted and not ended
STALL_SECONDS = 3.0  # an empty queue, and open shards nobody works on: their messages went down with a worker


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
    """Submits the shards of one job and brings back those whose worker died."""

    def __init__(
        self, app: Celery, store: JobStore, spec: JobSpec, shards: Iterator[tuple[str, ...]], queue: str
    ) -> None:
        self._app = app
        self._store = store
        self._spec = spec
        self._shards = enumerate(shards)
        self._queue = queue
        self._idle_since: float | None = None
        self.exhausted = False
        self.images = 0  # submitted so far

    def feed(self, open_shards: int) -> None:
        """Submit shards until the window is full or the source is exhausted."""
        while not self.exhausted and open_shards < WINDOW:
            numbered = next(self._shards, None)
            if numbered is None:
                self.exhausted = True
                return
            number, images = numbered
            shard = Shard(spec=self._spec, number=number, images=images)
            self._submit(shard.key, "pixelmill.shard", shard.model_dump(mode="json"))
            self.images += len(images)
            open_shards += 1

    def close(self, summary: dict[str, Any]) -> None:
        """Submit the job's last message."""
        message = Close(spec=self._spec, summary=summary)
        self._submit(message.key, "pixelmill.close", message.model_dump(mode="json"))

    def bring_back(self, progress: Progress, lost_worker: bool) -> int:
        """Publish again what a dead worker had: expired leases, and messages that nobody holds any more.

        No lease needs to run out first where the process is known to be dead.
        lost_worker: the only worker there was is dead.
        Returns how many shards were published again.
        """
        job = self._spec.job
        dead = {shard: token for shard, token in progress.live.items() if lost_worker or attempt_is_dead(token)}
        messages = [self._store.take_back(job, shard, token) for shard, token in dead.items()]
        if progress.live and not dead:
            messages = [self._store.take_back(job, shard) for shard in self._store.expired(job)]
        again = [message for message in messages if message is not None]
        again += self._stranded(progress) if not again else []
        for message in again:
            self._publish(message)
        if again:
            log.warning("%d shards of job %s are given out again", len(again), job)
        return len(again)

    def _stranded(self, progress: Progress) -> list[str]:
        """Open shards without a lease while the queue is empty: reserved by a worker that died before it began them."""
        stranded = progress.open > len(progress.live) and not self._store.redis.llen(self._queue)
        if not stranded:
            self._idle_since = None
            return []
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since < STALL_SECONDS:
            return []
        self._idle_since = None
        messages = self._store.messages(self._spec.job)
        return [message for shard, message in messages.items() if shard not in progress.live]

    def _submit(self, key: str, task: str, payload: dict[str, Any]) -> None:
        message = json.dumps({"task": task, "payload": payload})
        self._store.open(self._spec.job, key, message)
        self._publish(message)

    def _publish(self, message: str) -> None:
        parsed = json.loads(message)
        from kombu.exceptions import OperationalError

        try:
            self._app.send_task(parsed["task"], args=[parsed["payload"]], queue=self._queue)
        except OperationalError as error:
            raise BrokerError(f"the broker went away ({error}); the same command continues the job") from error
