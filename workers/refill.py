"""Go on with a job that only so many processes may work on, as soon as one of them has done a shard.

A steward would see within a tenth of a second that there is room for another; with one shard at a time, and quick
ones, that is longer than the work. So the process that ended a shard feeds the job itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import redis

from workers.errors import JobError
from workers.feeder import Feeder
from workers.jobs import JobSpec
from workers.registry import Registry
from workers.store import JobStore

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)


def refill(app: Celery, store: JobStore, queue: str, spec: JobSpec) -> None:
    """Submit the next shards of a job with a limit, as far as there is room; whatever goes wrong is left to a steward.

    Does nothing for a job without one: of its shards many wait already.
    """
    if spec.concurrency is None:
        return
    registry = Registry(store)
    try:
        head = registry.head(spec.job)
        progress = store.progress(spec.job)  # after the head: `Feeder.feed` says why
        if head is not None and progress.state == "running":
            Feeder(app, registry, queue).feed(head, progress.open)
    except (redis.RedisError, JobError, OSError) as error:
        log.info("a steward goes on with job %s: %s", spec.job, error)
