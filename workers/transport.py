"""The Redis transport, made to survive what isn't a message, and to say when it last looked into the queues.

Kombu reads a queue's entry before anybody may judge it: an entry that is no JSON, or lacks what every message has, ends
the worker's consume loop. Anyone who reaches the broker could stop a service that way. Here such an entry is handed to
`on_bad_message` and passed over.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from redis.connection import DefaultParser

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 4 * 2**20  # bytes; 256 names of 4,096 characters, escaped as JSON and base64, take less


class FullServerError(redis.ConnectionError):
    """The server answers, but writes nothing now: its disk is full or fails, or its memory is full, or it is a replica.

    Somebody may be about to put that right. redis-py raises it as an error in the command, over which Celery ends a
    worker; as a lost connection, workers and clients wait and try again.
    """


_PASSING = ("MISCONF", "OOM", "READONLY")  # first words of such answers


class Watch:
    """What the transport saw in this process. polled: monotonic time of the last answer from the queues."""

    polled = 0.0
    on_bad_message: Callable[[str, str], None] | None = None


def trouble_with(entry: bytes | str) -> str | None:
    """Say why a queue's entry is no message; None if it is one."""
    if len(entry) > LARGEST_MESSAGE:
        return f"{len(entry)} bytes, {LARGEST_MESSAGE} may be"
    try:
        message = json.loads(entry)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    if not isinstance(message, dict):
        return f"a JSON {type(message).__name__}, no message"
    properties = message.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_info"), dict):
        return "no delivery information"
    address = properties["delivery_info"]
    if not all(isinstance(address.get(key), str) for key in ("exchange", "routing_key")):
        return "no exchange or routing key"
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(message.get("headers"), dict):
        return "no delivery tag or headers"
    if properties.get("body_encoding") not in (None, "base64") or not isinstance(message.get("body"), str):
        return "no body in an encoding known here"
    try:
        base64.b64decode(message["body"])
    except (binascii.Error, ValueError) as error:
        return f"its body can't be decoded: {error}"
    return None


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """What a channel holds; a message that can't be acknowledged now takes no place in it."""

    def ack(self, delivery_tag: str) -> None:
        """Kombu's own. If the server does not take it, the place is free all the same, or a worker with one process
        would take no other message ever again; the message comes back some time later, and is found done.
        """
        try:
            super().ack(delivery_tag)
        except (redis.ConnectionError, redis.TimeoutError):
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel whose clients give only what is a message."""

    QoS = QoS

    def _get_client(self) -> Any:
        base = super()._get_client()
        if not isinstance(base, type):  # with a global key prefix: not ours
            return base
        return type("Client", (_Judging, base), {})

    def _connparams(self, *arguments: Any, **options: Any) -> Any:
        """Kombu's own. A close that fails halfway, at a broker that dies in that moment, leaves a channel without its
        transport's address: what is then acknowledged or closed on it is a lost connection, which a worker survives,
        and not an AttributeError, which ends it.
        """
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection of this channel is closed")
        return super()._connparams(*arguments, **options)


class _Judging:
    """A Redis client that looks at what comes out of a queue before Kombu does."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[misc]
        if command_name != "BRPOP":
            return answer
        Watch.polled = time.monotonic()
        if not answer:
            return answer
        queue, entry = answer
        trouble = trouble_with(entry)
        if trouble is None:
            return answer
        text = entry.decode("utf-8", "backslashreplace") if isinstance(entry, bytes) else str(entry)
        log.error("an entry of queue %s is no message (%s) and is put aside", queue, trouble)
        if Watch.on_bad_message is not None:
            Watch.on_bad_message(text, trouble)
        return None


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Redis transport with these channels."""

    Channel = Channel


def install() -> None:
    """Let redis:// URLs use this transport in this process, and take a full server for one that is away."""
    DefaultParser.EXCEPTION_CLASSES.update(dict.fromkeys(_PASSING, FullServerError))
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
