"""Broker, store and worker for a job: the configured ones, or some of its own that are gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workers.embedded import EmbeddedBroker, EmbeddedWorker, preload_json, remove_broker_data, remove_noted_data
from workers.interrupts import Interrupts
from workers.jobs import JobSpec
from workers.journal import STATE
from workers.settings import Settings
from workers.store import JobStore

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class Service:
    """What a job is given to. worker: the one this process owns; None: workers are somewhere else."""

    app: Celery
    store: JobStore
    worker: EmbeddedWorker | None = None


@contextmanager
def service_for(spec: JobSpec, config: Settings, interrupts: Interrupts) -> Iterator[Service]:
    """Give the configured service, or one for this job alone; what was started is gone afterwards, whatever happens.

    Raises BrokerError if the broker can't be reached or does not come up.
    """
    if config.broker is not None:
        store = JobStore(config.store or config.broker)
        store.ping()
        from workers.app import make_app

        yield Service(make_app(config.broker), store)
        return
    state = Path(spec.output) / STATE
    data = state / "broker"
    note = state / "embedded-data"  # where the data are, for whoever comes after a kill
    remove_broker_data(data)
    remove_noted_data(note)
    if config.embedded_data is not None:
        data = config.embedded_data / spec.job  # never that folder itself: it is removed afterwards
        note.write_text(str(data))
    broker = EmbeddedBroker(data)
    log = state / "worker.log"
    log.unlink(missing_ok=True)
    worker = EmbeddedWorker(broker.url, config, log, broker.temporary, preload_json(spec))
    try:
        worker.start()
        from workers.app import make_app  # while the worker starts: Celery takes a third of a second to import

        yield Service(make_app(broker.url), JobStore(broker.url), worker)
    finally:
        interrupts.cleaning = True
        worker.stop(grace_seconds=0)
        broker.stop()
        note.unlink(missing_ok=True)
