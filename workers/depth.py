"""How many messages wait in RabbitMQ's queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.cutting import cut_after
from workers.errors import BrokerError
from workers.queues import queues_of

if TYPE_CHECKING:
    from celery import Celery


_ANSWER_SECONDS = 5.0  # the loop that asks takes no message meanwhile


class Depth:
    """Counts what no consumer has yet, over a connection of its own."""

    def __init__(self, app: Celery, queue: str) -> None:
        self._app, self._queue = app, queue
        self._connection: Any = None

    def ready(self) -> int:
        """Messages in all queues of the service that no consumer has. Raises BrokerError if the broker is away."""
        from amqp.exceptions import AMQPError, NotFound
        from kombu.exceptions import OperationalError

        try:
            if self._connection is None:
                self._connection = self._app.connection_for_read(heartbeat=0)
            total = 0
            with cut_after(self._connection, _ANSWER_SECONDS):
                for name in queues_of(self._queue):
                    try:
                        with self._connection.channel() as channel:
                            total += channel.queue_declare(name, passive=True).message_count
                    except NotFound:  # nobody has used it yet
                        continue
        except (AMQPError, OperationalError, OSError) as error:
            self.close()
            raise BrokerError(f"RabbitMQ does not say how many messages wait: {error}") from error
        return total

    def close(self) -> None:
        """Give the connection up; the next question makes another."""
        if self._connection is not None:
            self._connection.collect()
            self._connection = None
