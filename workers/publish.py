"""Shards' messages on their way to a queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workers.errors import BrokerError

if TYPE_CHECKING:
    from celery import Celery


_CONFIRM_SECONDS = 10.0  # RabbitMQ confirms nothing as long as its disk or memory is short


def publish(app: Celery, queue: str, message: str) -> None:
    """Publish a message as the store keeps it: JSON with its `task` and `payload`.

    RabbitMQ has written it to disk when this returns.
    Raises BrokerError if the broker is away, or confirms nothing.
    """
    from amqp.exceptions import AMQPError
    from kombu.exceptions import OperationalError

    parsed = json.loads(message)
    waiting = {"confirm_timeout": _CONFIRM_SECONDS} if app.conf.broker_transport_options.get("confirm_publish") else {}
    try:
        app.send_task(parsed["task"], args=[parsed["payload"]], queue=queue, **waiting)
    except (OperationalError, AMQPError) as error:
        raise BrokerError(f"the broker went away ({error}); the same command continues the job") from error
