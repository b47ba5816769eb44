"""`pixelmill health`: does the broker answer, and does a worker on this machine take shards from the queue?"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from celery import Celery

    from workers.store import JobStore


@click.command(
    epilog="""\b
Examples:
  PIXELMILL_BROKER=redis://:secret@queue:6379/0 pixelmill health
  pixelmill health --broker redis://localhost:6379/0 --anywhere --timeout 2

\b
Exit status: 0 healthy, 1 not, with the reason on standard error.
"""
)
@click.option("--broker", metavar="URL", help="Broker; default: PIXELMILL_BROKER.")
@click.option("--anywhere", is_flag=True, help="A worker on any machine will do; default: one on this machine.")
@click.option("--gateway", metavar="URL", help="Ask a gateway instead whether it answers, e.g. http://127.0.0.1:8000.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    help="Seconds a worker has for its answer.",
)
def health(broker: str | None, anywhere: bool, gateway: str | None, timeout: float) -> None:
    """Ask the broker, then a worker of this machine whether it takes shards from the queue; or a gateway."""
    if gateway is not None:
        from workers.remote import RemoteClient

        RemoteClient(gateway).is_alive(timeout)
        click.echo(f"healthy: the gateway {gateway} answers")
        return
    from workers.errors import BrokerError
    from workers.queues import is_rabbitmq, is_redis
    from workers.settings import settings
    from workers.store import JobStore

    config = settings()
    url = broker or config.broker
    if url is None:
        raise BrokerError("there is no broker to ask: set PIXELMILL_BROKER or give --broker")
    if is_redis(url):
        JobStore(url).ping()
    store = JobStore((config.store if broker is None or is_rabbitmq(url) else None) or url)
    store.ping()

    from workers.app import make_app

    check_that_it_is_fit(store, config.queue, None if anywhere else socket.gethostname())
    name = consuming_worker(make_app(url), config.queue, None if anywhere else socket.gethostname(), timeout)
    check_that_it_polls(store, config.queue, name)
    click.echo(f"healthy: the broker answers, {name} takes shards from queue {config.queue!r}")


def check_that_it_is_fit(store: JobStore, queue: str, host: str | None) -> None:
    """See that there is a worker that has not taken itself out, or none at all. host: on which; None: on any.

    Raises WorkerError with its reason.
    """
    from workers.errors import WorkerError
    from workers.roll import Roll

    workers = [one for one in Roll(store, queue).workers() if host is None or one.name.endswith(f"@{host}")]
    if workers and all(one.unfit for one in workers):
        first = workers[0]
        raise WorkerError(f"worker {first.name} has taken itself out, it failed where others managed: {first.unfit}")


def check_that_it_polls(store: JobStore, queue: str, name: str) -> None:
    """See that a worker that answers also takes messages: after a broker came back one may do the one alone.

    Raises WorkerError if it is free and has not looked into its queues for too long.
    """
    from workers.errors import WorkerError
    from workers.roll import Roll

    for worker in Roll(store, queue).workers():
        if worker.name == name and not worker.is_ready:
            raise WorkerError(
                f"worker {name} answers, but its consume loop was last seen {worker.silent:.0f} s ago and, being "
                f"free, last looked into the queue {worker.idle_for:.0f} s before that: restart it"
            )


def consuming_worker(app: Celery, queue: str, host: str | None, timeout: float) -> str:
    """Find a worker that takes from a queue; the question is answered by its consume loop, not by its process.

    host: machine it must run on; None: any. timeout: seconds to wait for an answer.
    Returns the worker's name.
    Raises WorkerError if none answers in time, or none of those that do takes from the queue.
    """
    import redis
    from kombu.exceptions import OperationalError

    from workers.errors import BrokerError, WorkerError

    pattern = f"pixelmill-*@{host or '*'}"
    answers: dict[str, Any] = {}
    for limit in (1, None):  # the first answer usually does; only if not, all are waited for
        inspect = app.control.inspect(timeout=timeout, pattern=pattern, matcher="glob", limit=limit)
        try:
            answers = inspect.active_queues() or {}
        except (redis.RedisError, OperationalError) as error:
            raise BrokerError(f"the broker went away while a worker was asked: {error}") from error
        for name, queues in sorted(answers.items()):
            if queue in {entry.get("name") for entry in queues or ()}:
                return str(name)
        if not answers:
            break
    if answers:
        raise WorkerError(
            f"worker {', '.join(sorted(answers))} answers but takes nothing from queue {queue!r}: restart it, or set "
            "PIXELMILL_QUEUE to the queue it was started for"
        )
    where = f"on {host}" if host else "on any machine"
    raise WorkerError(
        f"no worker {where} answered within {timeout:g} s: start one with `pixelmill worker`, or look into its log"
    )
