"""Run one function over many items in N threads, lazily, with bounded look-ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import TypeVar

from pipelines.cores import available_cores

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # results a thread may be ahead of the slowest reader


def map_threaded(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    stop: Event | None = None,
    ordered: bool = True,
) -> Iterator[R]:
    """Yield `function(item)` of every item; the first exception of any thread ends the map and is raised here.

    threads: default: the cores this process may use.
    stop: once set, no further item is begun; items in work are finished and yielded.
    ordered: yield in the order of the items, else as they are done.
    """
    count = threads or available_cores()
    halt = Event()

    def stopped() -> bool:
        return halt.is_set() or (stop is not None and stop.is_set())

    if count == 1:
        for item in items:
            if stopped():
                return
            yield function(item)
        return

    source = enumerate(items)
    turn = Lock()
    room = Semaphore(count * _AHEAD)
    done: SimpleQueue[tuple[int, R] | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                room.acquire()
                with turn:
                    if stopped():
                        break
                    try:
                        index, item = next(source)
                    except StopIteration:
                        break
                done.put((index, function(item)))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread and raised there
            halt.set()
            done.put(error)
        finally:
            room.release()  # the next thread must not wait for room only to find nothing left
            done.put(None)

    workers = [Thread(target=work, name=f"pixelmill-{n}", daemon=True) for n in range(count)]
    for worker in workers:
        worker.start()
    waiting: dict[int, R] = {}
    next_index, alive, failure = 0, count, None
    try:
        while alive:
            entry = done.get()
            if entry is None:
                alive -= 1
            elif isinstance(entry, BaseException):
                failure = failure or entry
            elif ordered:
                waiting[entry[0]] = entry[1]
                while next_index in waiting:
                    yield waiting.pop(next_index)
                    room.release()
                    next_index += 1
            else:
                yield entry[1]
                room.release()
        if failure is not None:
            raise failure
    finally:
        halt.set()
        for _ in workers:
            room.release()
        for worker in workers:
            worker.join()
