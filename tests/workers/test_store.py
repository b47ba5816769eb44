"""The state of jobs against a real Valkey: leases, fences, duplicates, and whatever order messages come in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from workers.embedded import EmbeddedBroker
from workers.errors import BrokerError
from workers.jobs import new_job_id
from workers.store import JobStore

SHARD = "00000000"
LONG, SHORT = 60.0, 0.05


@pytest.fixture
def job(store: JobStore) -> str:
    job = new_job_id()
    store.create(job)
    store.open(job, SHARD, "the message")
    return job


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_shard_goes_from_open_to_done(store: JobStore, job: str) -> None:
    assert store.progress(job).open == 1
    assert store.begin(job, SHARD, "one", LONG) == ("begun", "1")
    assert store.beat(job, SHARD, "one", LONG, ok=2, failed=1) == "ok"
    assert store.progress(job).partly == 3
    assert store.progress(job).live == {SHARD: "one"}

    assert store.finish(job, SHARD, "one", 3, {"truncated": 1, "corrupt": 2})

    progress = store.progress(job)
    assert (progress.ok, progress.failed, progress.partly) == (3, 3, 0)
    assert progress.failed_by_code == {"truncated": 1, "corrupt": 2}
    assert (progress.open, progress.live) == (0, {})


def test_a_message_delivered_twice_is_worked_on_once(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.begin(job, SHARD, "two", LONG) == ("busy", "one")
    store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("done", "")


def test_an_end_told_twice_counts_once(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.finish(job, SHARD, "one", 5, {"corrupt": 1})
    assert not store.finish(job, SHARD, "one", 5, {"corrupt": 1})
    assert (store.progress(job).ok, store.progress(job).failed) == (5, 1)


def test_a_lease_that_ran_out_is_given_to_the_next_attempt_and_the_old_one_is_fenced(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.begin(job, SHARD, "two", LONG) == ("begun", "2")
    assert store.beat(job, SHARD, "one", LONG, 1, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.finish(job, SHARD, "two", 1, {})


def test_a_beat_before_anybody_took_it_revives_a_lease_that_ran_out(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "ok"
    assert store.expired(job) == []
    assert store.begin(job, SHARD, "two", LONG) == ("busy", "one")


def test_a_shard_taken_back_can_be_published_again(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.take_back(job, SHARD) == "the message"
    assert store.take_back(job, SHARD) is None
    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("begun", "2")


def test_a_living_lease_is_taken_back_only_by_name(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.take_back(job, SHARD) is None
    assert store.take_back(job, SHARD, "another") is None
    assert store.take_back(job, SHARD, "one") == "the message"


def test_nothing_is_taken_back_of_a_shard_that_is_done(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.finish(job, SHARD, "one", 1, {})

    assert store.take_back(job, SHARD, "one") is None
    assert store.take_back(job, SHARD) is None


@pytest.mark.parametrize("state", ["cancelled", "failed", "closed"])
def test_a_job_that_has_ended_begins_nothing_and_stops_what_is_at_work(store: JobStore, job: str, state: str) -> None:
    store.open(job, "00000001", "another message")
    store.begin(job, SHARD, "one", LONG)

    store.end(job, state, "because")  # type: ignore[arg-type]

    assert store.begin(job, "00000001", "two", LONG) == ("gone", "")
    assert store.beat(job, SHARD, "one", LONG, 1, 0) == "cancelled"
    assert store.progress(job).reason == "because"


def test_what_a_cancelled_attempt_still_finished_counts(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.end(job, "cancelled")

    assert store.finish(job, SHARD, "one", 4, {})
    assert store.progress(job).ok == 4


def test_the_first_reason_stays(store: JobStore, job: str) -> None:
    store.end(job, "failed", "the disk is full")
    store.end(job, "failed", "and another thing")

    assert store.progress(job).reason == "the disk is full"


def test_a_forgotten_job_is_gone_for_everybody(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    store.forget(job)

    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("gone", "")
    assert store.progress(job).state == "cancelled"
    assert store.redis.keys("*") == []


def test_the_state_of_a_job_expires(store: JobStore, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.open(job, "00000001", "another message")
    store.begin(job, "00000001", "two", LONG)
    store.open(job, "00000002", "a third message")

    assert all(store.redis.ttl(key) > 0 for key in store.redis.keys("*"))


def test_a_server_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(BrokerError, match=r"redis://:\*\*\*@127.0.0.1:1 can't be reached") as caught:
        JobStore("redis://:secret@127.0.0.1:1").ping()
    assert "secret" not in str(caught.value)


def test_a_server_killed_and_started_again_still_knows_its_jobs(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "data")
    store = JobStore(broker.url)
    job = new_job_id()
    store.create(job)
    store.open(job, SHARD, "the message")
    store.begin(job, SHARD, "one", LONG)
    aof = tmp_path / "data" / "appendonlydir"
    until(lambda: any("the message" in path.read_text("latin1") for path in aof.glob("*.incr.aof")))

    broker._process.kill()
    broker._process.wait()
    again = EmbeddedBroker(tmp_path / "data")

    assert JobStore(again.url).messages(job) == {SHARD: "the message"}
    assert JobStore(again.url).begin(job, SHARD, "two", LONG) == ("busy", "one")
    again.stop()
    broker.stop()


class Deliveries(RuleBasedStateMachine):
    """Three shards, four attempts each, in any order, with anything delivered late or twice."""

    store: JobStore

    shards = st.sampled_from(["0", "1", "2"])
    attempts = st.sampled_from(["a", "b", "c", "d"])

    @initialize()
    def submit(self) -> None:
        self.job = new_job_id()
        self.store.create(self.job)
        self.open = {"0", "1", "2"}
        self.holder: dict[str, str] = {}
        self.ran_out: set[str] = set()
        self.counted = 0
        for shard in self.open:
            self.store.open(self.job, shard, f"message {shard}")

    @rule(shard=shards, attempt=attempts, expired=st.booleans())
    def begin(self, shard: str, attempt: str, expired: bool) -> None:
        # a lease that begins in the past has run out, without anybody having to wait for it
        outcome, who = self.store.begin(self.job, shard, attempt, -1 if expired else LONG)
        if shard not in self.open:
            assert outcome == "done"
        elif shard in self.holder and shard not in self.ran_out:
            assert (outcome, who) == ("busy", self.holder[shard])
        else:
            assert outcome == "begun"
            self.holder[shard] = attempt
            (self.ran_out.add if expired else self.ran_out.discard)(shard)

    @rule(shard=shards, attempt=attempts)
    def beat(self, shard: str, attempt: str) -> None:
        answer = self.store.beat(self.job, shard, attempt, LONG, 0, 0)
        assert answer == ("ok" if self.holder.get(shard) == attempt else "lost")
        if answer == "ok":
            self.ran_out.discard(shard)

    @rule(shard=shards, attempt=attempts)
    def finish(self, shard: str, attempt: str) -> None:
        done = self.store.finish(self.job, shard, attempt, 1, {"corrupt": 1})
        assert done == (self.holder.get(shard) == attempt)
        if done:
            self.open.discard(shard)
            self.holder.pop(shard)
            self.ran_out.discard(shard)
            self.counted += 1

    @rule(shard=shards)
    def take_back(self, shard: str) -> None:
        message = self.store.take_back(self.job, shard)
        assert message == (f"message {shard}" if shard in self.ran_out else None)
        if message is not None:
            self.holder.pop(shard)
            self.ran_out.discard(shard)

    @invariant()
    def the_books_balance(self) -> None:
        progress = self.store.progress(self.job)
        assert progress.open == len(self.open)
        assert progress.live == self.holder
        assert progress.ok == progress.failed == self.counted == 3 - len(self.open)
        assert set(self.store.expired(self.job)) == self.ran_out


def test_the_books_balance_whatever_is_delivered_late_or_twice(store: JobStore) -> None:
    Deliveries.store = store
    quick = settings(max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Deliveries, settings=quick)  # type: ignore[no-untyped-call]
