"""Sends webhooks: a thread in each worker's parent, beside its steward, that touches no job.

Any number of couriers share the outbox. A try that fails is repeated with growing pauses: what is delivered is
delivered at least once, with the same id each time.
"""

from __future__ import annotations

import http.client
import logging
import time
from threading import Event, Thread

import redis

from workers.errors import BrokerError, JobError
from workers.outbox import Outbox
from workers.patience import backoff
from workers.registry import Registry
from workers.settings import Settings, settings
from workers.status import Status, status_of
from workers.store import JobStore
from workers.webhooks import message_for, post

log = logging.getLogger(__name__)

POST_SECONDS = 15.0  # for one message, from the name of its host to the status of the answer
_CLAIM_SECONDS = 60.0  # a courier that took a message and died is followed by another one after so long
_RUNNING_SECONDS = 0.5  # between two looks at a job that still runs
_IDLE_SECONDS = 0.25
_LEAST_PAUSE, _MOST_PAUSE = 5.0, 3600.0  # between two tries


class Courier:
    """Sends what is in the outbox of a service."""

    def __init__(self, store: JobStore, queue: str, config: Settings, least_pause: float = _LEAST_PAUSE) -> None:
        self._outbox, self._registry = Outbox(store, queue), Registry(store)
        self._config, self._least_pause = config, least_pause

    def run(self, stop: Event) -> None:
        """Send until told to stop; whatever goes wrong is logged and tried again."""
        pause = _IDLE_SECONDS
        while not stop.wait(pause):
            try:
                pause = 0.0 if self.step() else _IDLE_SECONDS
            except (redis.RedisError, JobError) as error:
                log.warning("webhooks can't be looked after at the moment: %s", error)
                pause = 1.0

    def step(self) -> bool:
        """Look at one entry whose time has come; False if there is none."""
        job = self._outbox.claim(_CLAIM_SECONDS)
        if job is None:
            return False
        try:
            status, head = status_of(self._registry, job), self._registry.head(job)
        except BrokerError:  # another version wrote it
            self._outbox.remove(job)
            raise
        if status is None or head is None:
            self._outbox.remove(job)
        elif not status.has_ended:
            self._outbox.put_off(job, _RUNNING_SECONDS)
        else:
            self._tell(status, head.webhook)
        return True

    def _tell(self, status: Status, url: str) -> None:
        started = time.monotonic()
        ok, said = self._try(status, url)
        milliseconds = (time.monotonic() - started) * 1000
        tries = len(status.deliveries) + 1
        final = ok or tries >= self._config.webhook_tries
        self._outbox.note(status.job, ok, said, milliseconds, final=final)
        about = {"job": status.job}
        if final:
            self._outbox.remove(status.job)
            log.info("webhook of job %s to %s: %s", status.job, status.webhook, said, extra=about)
            return
        pause = backoff(tries - 1, self._least_pause, _MOST_PAUSE)
        self._outbox.put_off(status.job, pause)
        log.info("webhook of job %s to %s: %s; again in %.0f s", status.job, status.webhook, said, pause, extra=about)

    def _try(self, status: Status, url: str) -> tuple[bool, str]:
        if self._config.webhook_secret is None:
            return False, "not sent: the worker has no PIXELMILL_WEBHOOK_SECRET"
        secret = self._config.webhook_secret.get_secret_value()
        try:
            body = message_for(status.to_json())
            answer = post(url, secret, f"{status.job}-ended", body, self._config.networks, POST_SECONDS)
        except (OSError, http.client.HTTPException, ValueError, JobError) as error:
            return False, f"not delivered: {str(error) or type(error).__name__}"
        return 200 <= answer < 300, f"answered {answer}"


def start_courier(store: str, queue: str) -> Event:
    """Start a courier in a thread of this process; set the event that is given back to end it.

    Its connection is its own: the process forks pool children, and a lock this thread holds is held in them for ever.
    """
    stop, config = Event(), settings()
    courier = Courier(JobStore(store), queue, config)
    Thread(target=courier.run, args=(stop,), name="courier", daemon=True).start()
    return stop
