"""The queues of a service, by priority, in the order a worker looks into them.

A picture somebody waits for must not stand behind a job of a million. Priorities are queues, not numbers on messages:
Redis, Valkey and RabbitMQ all have queues, and each has its own idea of a message's priority.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pipelines.optimisers import PIPELINE as OPTIMISE

if TYPE_CHECKING:
    from kombu import Queue

Priority: TypeAlias = Literal["high", "normal", "bulk"]
Lane: TypeAlias = Literal["plain", "torch"]  # who can do it: any worker, or one with PyTorch
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # the most urgent first

LANES: tuple[Lane, ...] = get_args(Lane)

_AGAIN = "again"
# RabbitMQ 4 drops a message that was delivered 20 times. We count attempts ourselves, in the store.
_MOST_DELIVERIES = 1_000_000


def lane_of(pipeline: str) -> Lane:
    """Who can do the shards of a pipeline."""
    return "torch" if pipeline == OPTIMISE else "plain"


def lane(base: str, pipeline: str) -> str:
    """The base of the queues for a pipeline's shards; base: the service's queue name."""
    return base if lane_of(pipeline) == "plain" else f"{base}.{lane_of(pipeline)}"


def waits_as(pipeline: str, priority: Priority) -> str:
    """The name under which a pipeline's shards wait in the store: nobody gives way to what he could not do."""
    return priority if lane_of(pipeline) == "plain" else f"{lane_of(pipeline)}-{priority}"


# every name of `waits_as`
WAITING: tuple[str, ...] = (*PRIORITIES, *(f"torch-{priority}" for priority in PRIORITIES))


def queue_for(base: str, priority: Priority) -> str:
    """The queue for a priority; base: the service's queue name, which is that of the normal one."""
    return base if priority == "normal" else f"{base}.{priority}"


def queue_of(base: str, pipeline: str, priority: Priority) -> str:
    """The queue for a pipeline's shards of a priority; base: the service's queue name."""
    return queue_for(lane(base, pipeline), priority)


def queue_for_returned(base: str) -> str:
    """The queue for shards whose worker died: they have waited once already and do not stand in line again."""
    return f"{base}.{_AGAIN}"


def all_queues(base: str) -> tuple[str, ...]:
    """Every queue of a lane in the order workers look into them; base: the lane's."""
    return queue_for(base, "high"), queue_for_returned(base), queue_for(base, "normal"), queue_for(base, "bulk")


def queues_of(base: str, lanes: Sequence[Lane] = LANES) -> tuple[str, ...]:
    """Every queue of these lanes, the most urgent first, and of two alike the one that any worker can take."""
    bases = [base if one == "plain" else f"{base}.{one}" for one in lanes]
    return tuple(name for alike in zip(*map(all_queues, bases), strict=True) for name in alike)


def queue_for_again(base: str, message: str) -> str:
    """The queue for a message that is given out again: one whose workers can do what is in it."""
    parsed = json.loads(message)
    shards = "number" in parsed["payload"]  # the last message of a job needs nothing that any worker has not
    return queue_for_returned(lane(base, parsed["payload"]["spec"]["pipeline"]) if shards else base)


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
    return [Queue(name, Exchange(""), routing_key=name, queue_arguments=arguments) for name in queues_of(base)]
