"""One function over many items in N threads: in order, lazily, and honest about the first error."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event, current_thread

import pytest

from pipelines.threads import map_threaded


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    assert list(map_threaded(lambda n: n * n, range(200), threads=threads)) == [n * n for n in range(200)]


def test_results_as_they_come_are_all_there() -> None:
    assert sorted(map_threaded(str, range(200), threads=3, ordered=False)) == sorted(map(str, range(200)))


def test_items_are_really_in_work_at_once() -> None:
    together = Barrier(3, timeout=10)

    names = set(map_threaded(lambda _: (together.wait(), current_thread().name)[1], range(3), threads=3))

    assert len(names) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_read_than_is_in_work(threads: int) -> None:
    read = []

    def items() -> Iterator[int]:
        for n in range(10_000):
            read.append(n)
            yield n

    results = map_threaded(lambda n: n, items(), threads=threads)
    next(results)
    results.close()  # type: ignore[attr-defined]

    assert len(read) < 100


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_ends_the_map_and_is_raised(threads: int, ordered: bool) -> None:
    def fail_at_seven(n: int) -> int:
        if n == 7:
            raise LookupError("seven")
        return n

    with pytest.raises(LookupError, match="seven"):
        list(map_threaded(fail_at_seven, range(10_000), threads=threads, ordered=ordered))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_source_is_raised_too(threads: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(map_threaded(lambda n: n, items(), threads=threads))


@pytest.mark.parametrize("threads", [1, 3])
def test_once_stopped_no_further_item_is_begun_and_what_was_begun_is_given(threads: int) -> None:
    stop = Event()
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n == 20:
            stop.set()
        return n

    done = list(map_threaded(work, range(10_000), threads=threads, stop=stop))

    assert sorted(begun) == done
    assert 20 in done
    assert len(done) < 100
