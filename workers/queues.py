"""The queues of a service, by priority, in the order a worker looks into them.

A picture somebody waits for must not stand behind a job of a million. Priorities are queues, not numbers on messages:
Redis, Valkey and RabbitMQ all have queues, and each has its own idea of a message's priority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from kombu import Queue

Priority: TypeAlias = Literal["high", "normal", "bulk"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # the most urgent first

_AGAIN = "again"
# RabbitMQ 4 drops a message that was delivered 20 times. We count attempts ourselves, in the store.
_MOST_DELIVERIES = 1_000_000


def queue_for(base: str, priority: Priority) -> str:
    """The queue for a priority; base: the service's queue name, which is that of the normal one."""
    return base if priority == "normal" else f"{base}.{priority}"


def queue_for_returned(base: str) -> str:
    """The queue for shards whose worker died: they have waited once already and do not stand in line again."""
    return f"{base}.{_AGAIN}"


def all_queues(base: str) -> tuple[str, ...]:
    """Every queue of a service in the order workers look into them."""
    return queue_for(base, "high"), queue_for_returned(base), queue_for(base, "normal"), queue_for(base, "bulk")


def above(priority: Priority) -> tuple[Priority, ...]:
    """The priorities that go before this one."""
    return PRIORITIES[: PRIORITIES.index(priority)]


def is_rabbitmq(url: str) -> bool:
    """Whether a broker's URL means RabbitMQ, which keeps messages and no state."""
    return url.partition(":")[0] in ("amqp", "amqps", "pyamqp")


def is_redis(url: str) -> bool:
    """Whether a broker's URL means Redis or Valkey, whose queues are lists one can look into."""
    return url.partition(":")[0] in ("redis", "rediss", "redis+socket")


def quorum_queues(base: str) -> list[Queue]:
    """A service's queues as RabbitMQ keeps them safest: durable, replicated, on every member of a cluster."""
    from kombu import Exchange, Queue

    arguments = {"x-queue-type": "quorum", "x-delivery-limit": _MOST_DELIVERIES}
    return [Queue(name, Exchange(""), routing_key=name, queue_arguments=arguments) for name in all_queues(base)]
