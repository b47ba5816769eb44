"""Time several ways of doing the same thing, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def side_by_side(
    ways: Mapping[str, Callable[[], Any]], *, seconds: float = 4.0, least: int = 3, most: int = 40
) -> dict[str, float]:
    """Time each way once a round, in turn, so that whatever else the machine does meets all of them alike.

    seconds: how long all of it may take, beyond `least` rounds; one more round before them warms up.
    Returns the median milliseconds of one call, by name.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    began = time.perf_counter()
    for number in range(most):
        if number >= least and time.perf_counter() - began > seconds:
            break
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            took[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}
