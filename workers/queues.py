"""The queues of a service, by priority, in the order a worker looks into them.

A picture somebody waits for must not stand behind a job of a million. Priorities are queues, not numbers on messages:
Redis, Valkey and RabbitMQ all have queues, and each has its own idea of a message's priority.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Priority: TypeAlias = Literal["high", "normal", "bulk"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # the most urgent first

_AGAIN = "again"


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
