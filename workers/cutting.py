"""A limit on how long a call may wait for RabbitMQ: AMQP's own calls wait for an answer without end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from threading import Timer
from typing import Any


@contextlib.contextmanager
def cut_after(connection: Any, seconds: float) -> Iterator[None]:
    """Shut a Kombu connection's socket down if the block takes longer; what waits for it gets an OSError."""
    timer = Timer(seconds, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Any) -> None:
    # `connection.connection` would connect; this is the one there is, if any
    transport = getattr(connection._connection, "transport", None)
    line = getattr(transport, "sock", None)
    if line is not None:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
