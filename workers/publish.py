"""Shards' messages on their way to a queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workers.errors import BrokerError

if TYPE_CHECKING:
    from celery import Celery


def publish(app: Celery, queue: str, message: str) -> None:
    """Publish a message as the store keeps it: JSON with its `task` and `payload`.

    Raises BrokerError if the broker is away.
    """
    from kombu.exceptions import OperationalError

    parsed = json.loads(message)
    try:
        app.send_task(parsed["task"], args=[parsed["payload"]], queue=queue)
    except OperationalError as error:
        raise BrokerError(f"the broker went away ({error}); the same command continues the job") from error
