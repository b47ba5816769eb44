"""Look after the running jobs of a service: feed them, close them when all is done, end those cut off at submission.

Each worker's parent process has a steward, a thread. One of them at a time, by a lock of a few seconds in the store,
tends all jobs; if it dies, another takes over when the lock has run out. The lock only saves work: each step is safe if
two do it at once (docs/decisions/0010-jobs-and-feeding.md).
"""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import redis

from workers.deadline import end_if_overdue
from workers.errors import JobError
from workers.feeder import Feeder
from workers.jobs import JobSpec
from workers.registry import Head, Registry
from workers.settings import settings
from workers.settling import Unsettled
from workers.store import JobStore, Progress

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.1  # between two looks while a job runs
IDLE_SECONDS = 0.25
LOCK_SECONDS = 3.0  # another steward takes over after so long
LISTING_SECONDS = 30.0  # a client that lists images and is silent for so long has died

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_LET_GO = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Steward:
    """Tends the jobs of one service."""

    def __init__(self, app: Celery, store: JobStore, queue: str) -> None:
        self.store = store
        self.registry = Registry(store)
        self.feeder = Feeder(app, self.registry, queue)
        self._queue = queue
        self._unsettled = Unsettled(self.registry, queue, settings().allowed_roots)
        self._token = secrets.token_hex(8)
        self._lock = f"pixelmill-service:{queue}:steward"
        self._hold = store.redis.register_script(_HOLD)
        self._let_go = store.redis.register_script(_LET_GO)

    def run(self, stop: Event) -> None:
        """Tend all jobs again and again until told to stop; whatever goes wrong is logged and tried again."""
        pause = IDLE_SECONDS
        while not stop.wait(pause):
            try:
                pause = BUSY_SECONDS if self.holds_the_lock() and self.tend_all() else IDLE_SECONDS
                self._unsettled.settle()
            except (redis.RedisError, JobError, OSError) as error:
                log.warning("the jobs can't be looked after at the moment: %s", error)
                pause = 1.0
        self.resign()

    def holds_the_lock(self) -> bool:
        """Take or renew the lock; False if another steward has it."""
        return bool(self._hold(keys=[self._lock], args=[self._token, int(LOCK_SECONDS * 1000)]))

    def resign(self) -> None:
        """Let the next steward take over at once."""
        try:
            self._let_go(keys=[self._lock], args=[self._token])
        except redis.RedisError as error:
            log.info("the steward's lock runs out by itself: %s", error)

    def tend_all(self) -> int:
        """Tend every running job once; returns how many there are."""
        jobs = self.store.running(self._queue)
        for job in jobs:
            try:
                self.tend(job)
            except (JobError, OSError) as error:
                # one job's folder may be away; the others go on
                log.warning("job %s can't be looked after at the moment: %s", job, error, extra={"job": job})
                self.registry.note_trouble(job, str(error))
        return len(jobs)

    def tend(self, job: str) -> None:
        """Do for one job what there is to do now.

        Raises OSError or JobError if its list of images can't be read, or the broker is away.
        """
        head, progress = self.registry.head(job), self.store.progress(job)
        if head is None or progress.state != "running":
            return
        if end_if_overdue(self.registry, head, progress, self.registry.now()):
            return
        if head.shards is None and self.registry.now() - head.beat > LISTING_SECONDS:
            self.store.end(job, "cancelled", "its client died before all its images were listed; submit it again")
            return
        try:
            fed = self.feeder.feed(head, progress.open)
        except FileNotFoundError as error:
            if not Path(head.spec.output).is_dir():  # not mounted here, or not at the moment
                raise
            self.store.end(job, "failed", f"the list of its images is gone ({error.filename}): submit it again")
            return
        if fed == 0 and head.is_fed and progress.open == 0:
            self.feeder.close(head.spec, summary(head, progress, self.registry.now()))
        if head.trouble is not None:
            self.registry.note_trouble(job, None)


def summary(head: Head, progress: Progress, now: float) -> dict[str, Any]:
    """What a job knows of itself, for its report. now: server time in seconds."""
    spec: JobSpec = head.spec
    seconds, ran = now - head.created, progress.ok + progress.failed
    return {
        "pipeline": spec.pipeline,
        "root": spec.root,
        "model": {"name": spec.model_name, "sha256": spec.model_sha256},
        "params": spec.params,
        "provider": progress.provider,
        "done": progress.ok,
        "failed": progress.failed,
        "failed_by_code": dict(progress.failed_by_code),
        "images_per_second": round(ran / seconds, 2) if seconds > 0 else 0,
        "seconds": round(seconds, 2),
        "started": _moment(head.created),
        "finished": _moment(now),
        "kept": head.kept,
        "interrupted": False,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def start_steward(broker: str, store: str, queue: str) -> Event:
    """Start a steward in a thread of this process; set the event that is given back to end it.

    Its connections are its own: the process forks pool children, and a lock this thread holds is held in them for ever.
    """
    stop = Event()

    def tend() -> None:
        from workers.app import make_app

        Steward(make_app(broker), JobStore(store), queue).run(stop)

    Thread(target=tend, name="steward", daemon=True).start()
    return stop
