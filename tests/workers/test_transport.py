"""The Redis transport against a real server that dies at the worst moment."""

from __future__ import annotations

import pytest
from kombu import Connection

from tests.redis_server import RedisServer
from workers import transport

pytestmark = pytest.mark.service


def test_what_is_held_on_a_connection_that_was_half_closed_is_a_lost_connection(redis_server: RedisServer) -> None:
    transport.install()
    connection = Connection(redis_server.url)
    queue = connection.SimpleQueue("pixelmill")
    for number in (1, 2):
        queue.put({"number": number})
    message, _ = queue.get(timeout=5), queue.get(timeout=5)
    channel = message.channel
    redis_server.kill()
    connection._do_close_transport()  # what Kombu has done when closing the channel before had failed
    channel._pool = None

    with pytest.raises(connection.connection_errors):
        message.ack()
    held = len(channel.qos._delivered) - len(channel.qos._dirty)  # as it counts when it looks for room
    assert held == 1  # the other: what could not be acknowledged takes no place
    with pytest.raises(connection.connection_errors):
        channel.close()
    assert channel.closed
