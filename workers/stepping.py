"""Pictures that take minutes in a worker: their steps are told, some are kept, and a stop is heard between two.

The time limit of an image counts anew at every step: a picture that comes on is not stuck. All of it must be done
within the time of its shard.

    DST/steps/photo.step-0100.jpg      what was painted after the hundredth step
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from pipelines.optimisers import PIPELINE
from workers.artefacts import STEPS, artefact_name, encode_picture, picture_kind, write_whole

if TYPE_CHECKING:
    from pipelines.optimise import Step
    from pipelines.pipeline import Pipeline
    from pipelines.types import Image
    from workers.images import Work
    from workers.limits import Watchdog
    from workers.store import JobStore

_TELL_SECONDS = 0.25
_OF_SHARD = 0.9  # of its time that a picture may take; writing it must fit in too


def attended(pipeline: Pipeline, work: Work, watchdog: Watchdog, shard_seconds: float) -> Pipeline:
    """Look on while this attempt's pictures are painted; other pipelines are given back as they are."""
    if pipeline.params.pipeline != PIPELINE:
        return pipeline
    from pipelines.optimise import Attendant, Optimiser

    assert isinstance(pipeline, Optimiser)  # noqa: S101 - its name says so
    spec, told = work.shard.spec, [0.0]
    output = Path(spec.output)

    def step(name: str, one: Step) -> None:
        watchdog.begin(name)
        now = time.monotonic()
        if now - told[0] >= _TELL_SECONDS or one.number == one.steps:
            told[0] = now
            _tell(work.store, spec.job, work.shard.key, f"{name}: step {one.number:,} of {one.steps:,}")

    def keep(name: str, number: int, pixels: Image) -> str:
        kept = step_name(name, number)
        write_whole(output / kept, encode_picture(pixels, picture_kind(name, 3)))
        return kept

    return pipeline.attended(Attendant(work.stop, step, keep, _OF_SHARD * shard_seconds))


def step_name(image: str, number: int) -> str:
    """Where the picture after a step of an image is kept, below the output folder: no two images share a name."""
    stem, _, ending = artefact_name(STEPS, image, picture_kind(image, 3)).rpartition(".")
    return f"{stem}.step-{number:04d}.{ending}"


def steps_of(store: JobStore, job: str, live: Iterable[str]) -> str:
    """How far the pictures in work are, e.g. "photo.jpg: step 120 of 300"; empty if nothing is told.

    live: keys of the shards at work.
    """
    fields = [f"step:{shard}" for shard in sorted(live)]
    if not fields:
        return ""
    return ", ".join(text for text in store.redis.hmget(store._keys(job)[0], fields) if text)


def _tell(store: JobStore, job: str, shard: str, text: str) -> None:
    printable = text.encode("utf-8", "replace").decode()
    try:
        if store.redis.exists(store._keys(job)[0]):
            store.redis.hset(store._keys(job)[0], f"step:{shard}", printable)
    except redis.RedisError:  # it is told at the next step
        return
