"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def available_cores() -> int:
    """Cores by affinity, lowered by the container's quota; at least 1.

    In a container the machine's core count is a trap: 64 threads on a quota of 2 spend their time waiting.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota is not None else cores)


def _cgroup_quota() -> float | None:
    try:
        if _QUOTA_V2.exists():
            quota, period = _QUOTA_V2.read_text().split()[:2]
            return None if quota == "max" else int(quota) / int(period)
        quota_us, period_us = (int(path.read_text()) for path in _QUOTA_V1)
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None
