"""Messages that a worker has from RabbitMQ and no process is free for yet, the most urgent first.

A quorum queue gives each consumer its own number of messages ahead, and a worker consumes from four queues. So it gets
more than it has processes for, in any order. What it can't begin at once it holds here, unacknowledged: an urgent
picture then goes before the rest, and if the worker dies, the broker gives all of it to others.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Sequence
from typing import Any

GIVE_BACK_SECONDS = 2.0  # what is held for so long goes back if another worker is free
LONGEST_SECONDS = 600.0  # or in any case: RabbitMQ cuts off who acknowledges nothing for 30 minutes


class Holding:
    """What is held for one connection. Lives in the thread of the worker's consume loop."""

    def __init__(self, queues: Sequence[str]) -> None:
        """queues: names, the most urgent first."""
        self._rank = {name: rank for rank, name in enumerate(queues)}
        self._held: list[tuple[int, int, float, Any]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, message: Any) -> None:
        """Hold a message; within a queue what came first goes first."""
        rank = self._rank.get(message.delivery_info.get("routing_key"), len(self._rank))
        heapq.heappush(self._held, (rank, next(self._numbers), time.monotonic(), message))

    def take(self) -> Any:
        """Take out the most urgent message. Raises IndexError if there is none."""
        return heapq.heappop(self._held)[3]

    def take_older(self, seconds: float) -> list[Any]:
        """Take out all that has been held for so long."""
        before = time.monotonic() - seconds
        old = [message for *_, since, message in self._held if since <= before]
        self._held = [entry for entry in self._held if entry[2] > before]
        heapq.heapify(self._held)
        return old
