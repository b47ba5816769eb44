"""When a job must be over: how that is given, and how a job ends that is not.

The store's clock counts, because clients and workers may disagree about the hour. Whoever looks after jobs, or only
looks at one, ends a job whose deadline has passed. Its workers learn that by their heart-beats, as of a cancelled one.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from workers.errors import JobError
from workers.registry import Head, Registry
from workers.settings import settings
from workers.settling import unsettled_key
from workers.store import Progress

# seconds from the submission, the same as a timedelta, or a moment with its time zone
When: TypeAlias = float | timedelta | datetime

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_LONGEST_SECONDS = 7 * 86400  # the service forgets a job after that


def parse_deadline(text: str) -> When:
    """Understand `90`, `90s`, `30m`, `2h`, `1d` (from now) or an ISO 8601 time. Raises JobError."""
    if span := _SPAN.fullmatch(text.strip()):
        return float(span[1]) * _UNITS[span[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise JobError(
            f"deadline {text!r} is not understood: write 90s, 30m, 2h or 1d, or a time as 2026-11-24T18:00:00+01:00"
        ) from error
    return moment if moment.tzinfo is not None else moment.astimezone()


def seconds_left(deadline: When | None) -> float | None:
    """How long a job has from now; None if it has no deadline. Raises JobError if that is no time in the future."""
    if deadline is None:
        return None
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise JobError(f"deadline {deadline.isoformat()} has no time zone: give it one, or seconds from now")
        seconds = (deadline - datetime.now(UTC)).total_seconds()
    else:
        seconds = deadline.total_seconds() if isinstance(deadline, timedelta) else float(deadline)
    if not math.isfinite(seconds) or not 0 < seconds <= _LONGEST_SECONDS:
        raise JobError(
            f"a deadline lies up to 7 days in the future, not {seconds:,.0f} s: nothing could be done by then"
        )
    return seconds


def end_if_overdue(registry: Registry, head: Head, progress: Progress, now: float) -> bool:
    """End a running job whose deadline has passed with images left to do; True if it did. now: the store's time."""
    if head.deadline is None or now < head.deadline or progress.state != "running":
        return False
    ran = progress.ok + progress.failed
    if head.shards is not None and ran >= head.images:
        return False  # only its report is left
    listed = "those listed so far" if head.shards is None else "images"
    when = datetime.fromtimestamp(head.deadline, UTC).isoformat(sep=" ", timespec="seconds")
    done = f"{head.kept + ran + progress.partly:,} of {head.kept + head.images:,} {listed} finished"
    # whoever sees it first ends it, perhaps a client that goes away at once: what is done is merged by a worker
    registry.store.redis.sadd(unsettled_key(settings().queue), head.spec.job)
    registry.store.end(head.spec.job, "failed", f"DeadlineExceeded: its deadline {when} passed with {done}")
    return True
