"""The pictures that `predict` waits for: so many at once, in threads of their own.

A wait for an answer holds a thread. In the server's pool, which has forty, some dozen slow pictures would keep job
lists and event streams from being answered; here they keep only each other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from workers.client import Client
from workers.gateway.problems import busy

T = TypeVar("T")

_LOOK_SECONDS = 0.5


class Room:
    """Places for pictures somebody waits for; to be used from one event loop."""

    def __init__(self, client: Client, most: int) -> None:
        """Take the client that knows what waits. most: places here, and pictures that may wait in the whole service."""
        self._client, self._most = client, most
        self._threads = CapacityLimiter(most)
        self._taken = 0
        self._waiting, self._when = 0, -_LOOK_SECONDS

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Raises Problem 503 if none is free or too much waits, BrokerError if nobody can say."""
        if self._taken >= self._most:
            raise busy("queue_full", f"{self._taken} pictures wait here already: ask again in a moment")
        self._taken += 1
        try:
            waiting = await self._depth()
            if waiting > self._most:
                raise busy("queue_full", f"{waiting} pictures wait already: ask again in a moment")
            yield
        finally:
            self._taken -= 1

    async def wait(self, question: Callable[[], T]) -> T:
        """Ask in a thread of this room's; whoever holds a place finds one free."""
        return await run_sync(question, limiter=self._threads)

    async def _depth(self) -> int:
        """How many pictures wait in front, asked no more often than `_LOOK_SECONDS`."""
        now = time.monotonic()
        if now - self._when >= _LOOK_SECONDS:
            self._when = now  # before asking: those that come meanwhile go by what is known
            try:
                self._waiting = (await self.wait(self._client.waiting))["high"]
            except BaseException:
                self._when = -_LOOK_SECONDS
                raise
        return self._waiting
