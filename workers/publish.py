"""Messages on their way to a queue."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import redis

from workers.cutting import cut_after
from workers.errors import BrokerError
from workers.patience import backoff
from workers.queues import is_rabbitmq

if TYPE_CHECKING:
    from celery import Celery


PATIENCE_SECONDS = 10.0  # a broker that is started again is away for a few seconds
_ANSWER_SECONDS = 10.0  # RabbitMQ confirms nothing as long as its disk or memory is short
_ONE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}


def publish(app: Celery, queue: str, message: str, patience: float = PATIENCE_SECONDS) -> None:
    """Publish a message as the store keeps it: JSON with its `task` and `payload`; otherwise as `send`."""
    parsed = json.loads(message)
    try:
        send(app, queue, parsed["task"], parsed["payload"], patience)
    except BrokerError as error:
        raise BrokerError(f"{error}; the same command continues the job") from error


def send(
    app: Celery, queue: str, task: str, payload: dict[str, Any], patience: float, expires: float | None = None
) -> None:
    """Send a task's message. Redis and Valkey have it in their append-only file, RabbitMQ on disk when this returns.

    patience: seconds to try again for; the last try may take 10 s more, 20 s with RabbitMQ. The message may then be
    there twice, which the lease of a shard makes harmless. expires: seconds after which nobody wants it any more.
    Raises BrokerError if the broker is away, does not answer, or confirms nothing.
    """
    from amqp.exceptions import AMQPError
    from kombu.exceptions import OperationalError

    give = _give_rabbitmq if is_rabbitmq(app.conf.broker_url) else _give
    until = time.monotonic() + patience
    tries = 0
    while True:
        try:
            give(app, task, args=[payload], queue=queue, expires=expires)
        except (OperationalError, AMQPError, redis.RedisError, OSError) as error:
            pause = backoff(tries, least=0.1, most=2.0)
            if time.monotonic() + pause > until:
                raise BrokerError(f"the broker went away ({_say(error)})") from error
        else:
            return
        time.sleep(pause)
        tries += 1


def _give(app: Celery, task: str, **message: Any) -> None:
    # Kombu's tries hold tries of its connections: a frozen Redis would hold a caller for minutes
    app.send_task(task, **message, retry=False)


def _give_rabbitmq(app: Celery, task: str, **message: Any) -> None:
    with app.producer_or_acquire() as producer, cut_after(producer.connection, _ANSWER_SECONDS):
        app.send_task(task, **message, producer=producer, confirm_timeout=_ANSWER_SECONDS, retry_policy=_ONE_MORE)


def _say(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
