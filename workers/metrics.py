"""What a worker's processes count and time, for Prometheus (docs/decisions/0015-metrics.md).

Pool processes come and go, and many are killed. Each writes its numbers into memory-mapped files of its own, in a
folder the worker's parent has made, and the parent adds them up when it is asked (`workers.exporter`): what a killed
process counted stays counted. Where no parent has asked for metrics, all of this does nothing and imports nothing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import redis

from workers.jobs import JobSpec, place
from workers.queues import waits_as
from workers.seam import Store

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own name: it looks there when it is imported

_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_QUEUE_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)


class Meter:
    """The counters and histograms of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        own = CollectorRegistry()
        self.images = Counter(
            "pixelmill_images", "Images finished; outcome: ok or the code of the failure.", ("pipeline", "outcome"),
            registry=own,
        )  # fmt: skip
        self.stages = Histogram(
            "pixelmill_stage_seconds", "Time of one image in one stage.", ("pipeline", "stage"),
            buckets=_STAGE_SECONDS, registry=own,
        )  # fmt: skip
        self.queue = Histogram(
            "pixelmill_queue_seconds", "Time a shard or a single picture waited for a worker.",
            ("pipeline", "priority"), buckets=_QUEUE_SECONDS, registry=own,
        )  # fmt: skip
        self.attempts = Counter(
            "pixelmill_attempts", "Attempts at shards; outcome: how each went.", ("pipeline", "outcome"), registry=own
        )
        self.deaths = Counter(
            "pixelmill_process_deaths", "Pool processes that died at work, by what ended them.", ("cause",),
            registry=own,
        )  # fmt: skip
        self.loads = Counter("pixelmill_model_loads", "Models loaded into a process.", ("model",), registry=own)
        self.evictions = Counter(
            "pixelmill_model_evictions", "Models put out of a process to make room.", ("model",), registry=own
        )


def is_on() -> bool:
    """Whether this process belongs to a worker that was started with a port for metrics."""
    return FOLDER in os.environ


def meter() -> Meter | None:
    """This process's counters; None where nobody asked for metrics."""
    return _meter() if is_on() else None


@lru_cache(maxsize=1)
def _meter() -> Meter:
    return Meter()


def image_done(pipeline: str, line: Mapping[str, Any]) -> None:
    """Count an image and its stages. line: as in `results.jsonl`."""
    if (found := meter()) is None:
        return
    outcome = "ok" if line["status"] == "ok" else line["error"]["code"]
    found.images.labels(pipeline, outcome).inc()
    for stage, milliseconds in (line.get("timings_ms") or {}).items():
        found.stages.labels(pipeline, stage).observe(milliseconds / 1000)


def waited(store: Store, queue: str, spec: JobSpec, member: str) -> None:
    """Time how long a shard, or a picture, has waited; called just before it is begun. member: its key in its job."""
    if (found := meter()) is None:
        return
    name = spec.priority if member == "picture" else waits_as(spec.pipeline, spec.priority)
    try:
        seconds = store.waited(queue, name, f"{spec.job} {member}")
    except redis.RedisError:  # whoever begins it now meets the same, and has patience
        return
    if seconds is not None:
        found.queue.labels(spec.pipeline, spec.priority).observe(seconds)


def attempt_ended(pipeline: str, outcome: str) -> None:
    """Count an attempt. outcome: done, yielded, stopped, failed, held up or broke."""
    if (found := meter()) is not None:
        found.attempts.labels(pipeline, outcome.replace(" ", "_")).inc()


def process_died(cause: str) -> None:
    """Count a pool process that died over a shard."""
    if (found := meter()) is not None:
        found.deaths.labels(cause).inc()


def model_loaded(model: str) -> None:
    """Count a model that was loaded."""
    if (found := meter()) is not None:
        found.loads.labels(model).inc()


def model_evicted(model: str) -> None:
    """Count a model that was put out."""
    if (found := meter()) is not None:
        found.evictions.labels(model).inc()


def make_folder() -> Path:
    """Make the folder of this worker's numbers, gone when the worker ends, and sweep those of workers that were killed.

    To be called before prometheus-client is imported, in the worker's parent.
    """
    mark = f"pixelmill-metrics-{blake2b(place().encode(), digest_size=4).hexdigest()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{mark}*"):
        pid = left.name.removeprefix(mark).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=f"{mark}{owner}-"))

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    os.environ[FOLDER] = str(folder)
    return folder
