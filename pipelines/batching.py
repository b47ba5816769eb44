"""Batches for a GPU: decode threads fill buckets of equal shape, each full bucket runs as one batch.

Nothing here needs a GPU: on a CPU the same code gives the same results (tests hold that), it is only not faster there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from pipelines.cores import available_cores
from pipelines.results import Result
from pipelines.tensor import Workspace
from pipelines.threads import map_threaded

if TYPE_CHECKING:
    from pipelines.image import Picture
    from pipelines.pipeline import Pipeline, Prepared, Source, Then


@dataclass(slots=True)
class _Item:
    index: int
    prepared: Prepared


def map_batched(
    pipeline: Pipeline,
    sources: Iterable[Source],
    size: int,
    *,
    threads: int | None = None,
    then: Then | None = None,
    before: Callable[[str], None] | None = None,
    stop: Event | None = None,
    enough: tuple[int, int] | None = None,
    ordered: bool = True,
) -> Iterator[Result]:
    """Process many pictures in batches of up to `size` of equal shape; otherwise as `Pipeline.map`.

    Decoding runs in `threads` threads, ahead of the session by two batches. A batch that fails is run again picture by
    picture, so that one bad picture does not spoil the others.
    """
    from pipelines.pipeline import named

    count = threads or available_cores()

    def prepare(numbered: tuple[int, Source]) -> tuple[int, Prepared | Result]:
        index, source = numbered
        if before is not None:
            before(named(source)[0])
        # a workspace of its own: the tensor must outlive this thread's next picture
        return index, pipeline.prepare(source, Workspace(), enough)

    def finish(result: Result, picture: Picture | None) -> Result:
        return then(result, picture) if then is not None else result

    def results() -> Iterator[tuple[int, Result]]:
        buckets: dict[tuple[int, ...], list[_Item]] = {}
        prepared_items = map_threaded(prepare, enumerate(sources), threads=count, stop=stop, ordered=False)
        for index, item in prepared_items:
            if isinstance(item, Result):
                yield index, finish(item, None)
                continue
            bucket = buckets.setdefault(item.tensor.shape, [])
            bucket.append(_Item(index, item))
            if len(bucket) == size:
                del buckets[item.tensor.shape]
                yield from _run(pipeline, bucket, finish, count)
        for bucket in buckets.values():
            yield from _run(pipeline, bucket, finish, count)

    if not ordered:
        for _, result in results():
            yield result
        return
    waiting: dict[int, Result] = {}
    next_index = 0
    for index, result in results():
        waiting[index] = result
        while next_index in waiting:
            yield waiting.pop(next_index)
            next_index += 1
    yield from (waiting[index] for index in sorted(waiting))


def _run(
    pipeline: Pipeline, bucket: list[_Item], finish: Callable[[Result, Picture | None], Result], threads: int
) -> Iterator[tuple[int, Result]]:
    tensors = np.concatenate([item.prepared.tensor for item in bucket])
    try:
        if pipeline.session.on_gpu:
            outputs = pipeline.session.run_bound(pipeline.session.bind(), tensors)
        else:
            outputs = pipeline.session.run(tensors)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - each picture runs alone below, and the guilty one gets its own error
        outputs = []

    def one(numbered: tuple[int, _Item]) -> tuple[int, Result]:
        position, item = numbered
        rows = [output[position : position + 1] for output in outputs]
        result = pipeline.finish(item.prepared, (lambda _: rows) if rows else pipeline.session.run)
        return item.index, finish(result, item.prepared.picture)

    yield from map_threaded(one, enumerate(bucket), threads=threads)
