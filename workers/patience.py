"""Try again what can pass: a store or a broker that is away for a moment."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import redis

log = logging.getLogger(__name__)

T = TypeVar("T")

PASSING = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)
STORE_SECONDS = 120.0  # a worker that can't reach the store for so long gives up; its lease has run out long before


def patiently(call: Callable[[], T], what: str, seconds: float = STORE_SECONDS) -> T:
    """Call until it succeeds, with growing pauses; raises the last error when `seconds` have passed."""
    deadline = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            return call()
        except PASSING as error:
            pause = backoff(tries, least=0.1, most=3.0)
            if time.monotonic() + pause > deadline:
                raise
            if not tries:
                log.warning("%s: the store is away (%s), trying again", what, error)
            tries += 1
            time.sleep(pause)


def backoff(tries: int, least: float, most: float) -> float:
    """Seconds to wait after so many tries: doubling, with jitter so that many workers don't come back at once.

    Uniform between half of the doubled pause and the whole.
    """
    pause = min(most, least * 2 ** min(tries, 30))
    return float(pause * (0.5 + random.random() / 2))  # noqa: S311 - nobody is to guess it
