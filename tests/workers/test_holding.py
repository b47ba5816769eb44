"""The most urgent message goes first, whatever RabbitMQ brought first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workers.holding import Holding
from workers.queues import all_queues

QUEUES = all_queues("pixelmill")


def message(queue: str) -> SimpleNamespace:
    return SimpleNamespace(delivery_info={"exchange": "", "routing_key": queue})


def test_messages_go_by_urgency_and_within_a_queue_as_they_came() -> None:
    holding = Holding(QUEUES)
    bulk, first, second, again, high = (
        message(name) for name in ("pixelmill.bulk", "pixelmill", "pixelmill", "pixelmill.again", "pixelmill.high")
    )
    for one in (bulk, first, second, again, high):
        holding.put(one)

    assert [holding.take() for _ in range(5)] == [high, again, first, second, bulk]
    with pytest.raises(IndexError):
        holding.take()


def test_what_comes_from_no_queue_of_ours_goes_last() -> None:
    holding = Holding(QUEUES)
    strange, bulk = message("somewhere"), message("pixelmill.bulk")
    nameless = SimpleNamespace(delivery_info={})
    for one in (strange, nameless, bulk):
        holding.put(one)

    assert [holding.take() for _ in range(3)] == [bulk, strange, nameless]


def test_only_what_is_held_for_long_is_taken_out_and_the_order_of_the_rest_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holding = Holding(QUEUES)
    clock = 100.0
    monkeypatch.setattr("workers.holding.time.monotonic", lambda: clock)
    old = [message("pixelmill.bulk"), message("pixelmill.high")]
    for one in old:
        holding.put(one)
    clock = 105.0
    young = [message("pixelmill"), message("pixelmill.high")]
    for one in young:
        holding.put(one)

    taken = holding.take_older(5.0)

    assert len(taken) == 2
    assert all(one in old for one in taken)
    assert [holding.take() for _ in range(2)] == [young[1], young[0]]
