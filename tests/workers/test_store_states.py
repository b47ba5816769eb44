"""Jobs, shards and attempts while messages are reordered, doubled and lost: both keepers of the state against a model.

Whatever happens, each shard counts once, and no open shard of a running job is out of sight: somebody has it, or it
waits, or its pause is over. So the next sweep can bring it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from workers.jobs import new_job_id
from workers.memory_store import MemoryStore
from workers.queues import PRIORITIES
from workers.seam import Store
from workers.store import JobStore

LONG, OVER = 3600.0, -1.0  # a lease that begins in the past has run out, without anybody having to wait for it
BLINK = 1e-6  # a pause that is over when the next question is asked
SHARDS = 3


@dataclass
class Attempt:
    token: str
    ran_out: bool


@dataclass
class Expected:
    """What a job must look like."""

    priority: str
    state: str = "running"
    counted: int = 0
    live: dict[str, Attempt | None] = field(default_factory=dict)  # open shards
    begun: dict[str, int] = field(default_factory=dict)


class Transitions(RuleBasedStateMachine):
    """Two jobs, a few shards each, any number of attempts; a broker that does what brokers do at their worst."""

    kept: JobStore

    picks = st.integers(0, 2**16)

    @initialize()
    def submit(self) -> None:
        ticks: Iterator[int] = count(1)
        self.stores: list[Store] = [self.kept, MemoryStore(lambda: next(ticks) / 1000)]
        self.queue = f"states-{new_job_id()}"
        self.jobs = {new_job_id(): Expected("high"), new_job_id(): Expected("bulk")}
        self.broker: list[tuple[str, str]] = []
        self.tokens: list[tuple[str, str, str]] = []
        for job, expected in self.jobs.items():
            self.both("create", job, queue=self.queue, priority=expected.priority)

    def both(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Tell both; they must answer alike."""
        first, second = (getattr(store, verb)(*arguments, **options) for store in self.stores)
        assert first == second, f"{verb}{arguments}"
        return first

    @rule(which=picks, shard=st.integers(0, SHARDS - 1), lost=st.booleans())
    def feed(self, which: int, shard: int, lost: bool) -> None:
        """A feeder opens a shard, and may die before it has published it."""
        job, expected = list(self.jobs.items())[which % 2]
        name = str(shard)
        if expected.state != "running" or name in expected.live or name in expected.begun:
            return  # `Registry.advance` opens each once, and none of a job that has ended
        self.both("open", job, name, f"message {job} {name}")
        expected.live[name] = None
        expected.begun[name] = 0
        if not lost:
            self.broker.append((job, name))

    @precondition(lambda self: self.broker)
    @rule(which=picks, twice=st.booleans(), over=st.booleans())
    def deliver(self, which: int, twice: bool, over: bool) -> None:
        """Any message, in any order, perhaps not for the last time."""
        job, shard = self.broker[which % len(self.broker)]
        if not twice:
            self.broker.remove((job, shard))
        token = f"attempt-{len(self.tokens)}"
        answer = self.both("begin", job, shard, token, OVER if over else LONG)
        expected = self.jobs[job]
        if expected.state != "running":
            assert answer == ("gone", "")
        elif shard not in expected.live:
            assert answer == ("done", "")
        elif (holder := expected.live[shard]) is not None and not holder.ran_out:
            assert answer == ("busy", holder.token)
        else:
            expected.begun[shard] += 1
            assert answer == ("begun", str(expected.begun[shard]))
            expected.live[shard] = Attempt(token, over)
            self.tokens.append((job, shard, token))

    @precondition(lambda self: self.broker)
    @rule(which=picks)
    def lose(self, which: int) -> None:
        """A message is gone with whoever had it."""
        del self.broker[which % len(self.broker)]

    @precondition(lambda self: self.tokens)
    @rule(which=picks, over=st.booleans())
    def beat(self, which: int, over: bool) -> None:
        """Some attempt, perhaps one that was frozen for long, renews its lease."""
        job, shard, token = self.tokens[which % len(self.tokens)]
        answer = self.both("beat", job, shard, token, OVER if over else LONG, 0, 0)
        holder = self.holder(job, shard)
        if holder is None or holder.token != token:
            assert answer == "lost"
        elif self.jobs[job].state != "running":
            assert answer == "cancelled"
        else:
            assert answer == "ok"
            holder.ran_out = over

    @precondition(lambda self: self.tokens)
    @rule(which=picks)
    def finish(self, which: int) -> None:
        """Some attempt, perhaps for the second time, says that it is done."""
        job, shard, token = self.tokens[which % len(self.tokens)]
        holder = self.holder(job, shard)
        done = self.both("finish", job, shard, token, 1, {"corrupt": 1})
        assert done == (holder is not None and holder.token == token)
        if done:
            del self.jobs[job].live[shard]
            self.jobs[job].counted += 1

    @precondition(lambda self: self.tokens)
    @rule(which=picks, pause=st.sampled_from([0.0, BLINK]))
    def die(self, which: int, pause: float) -> None:
        """Somebody saw an attempt's process die, or it puts its shard back."""
        job, shard, token = self.tokens[which % len(self.tokens)]
        holder = self.holder(job, shard)
        self.both("note_death", job, shard, token, "killed by signal 9")
        message = self.both("take_back", job, shard, token, pause)
        assert message == (f"message {job} {shard}" if holder is not None and holder.token == token else None)
        if message is not None:
            self.jobs[job].live[shard] = None
            if not pause:
                self.broker.append((job, shard))

    @rule()
    def sweep(self) -> None:
        """What ran out is taken back, and what is due or waits without a message is published again."""
        for job, expected in self.jobs.items():
            for shard in self.both("expired", job):
                assert self.both("take_back", job, shard) == f"message {job} {shard}"
                expected.live[shard] = None
        for job, expected in self.jobs.items():
            for shard, holder in expected.live.items():
                again = self.both("wait", job, shard)
                missing = expected.state == "running" and holder is None
                assert again == (f"message {job} {shard}" if missing else None)
                if missing and (job, shard) not in self.broker:
                    self.broker.append((job, shard))

    @rule(which=picks, state=st.sampled_from(["closed", "failed", "cancelled"]), really=st.integers(0, 3))
    def end(self, which: int, state: str, really: int) -> None:
        """A job ends, once; now and then only, or there would be nothing to see."""
        if really:
            return
        job, expected = list(self.jobs.items())[which % 2]
        self.both("end", job, state, f"it was {state}")
        if expected.state == "running":
            expected.state = state

    def holder(self, job: str, shard: str) -> Attempt | None:
        return self.jobs[job].live.get(shard)

    @invariant()
    def the_books_balance(self) -> None:
        for job, expected in self.jobs.items():
            progress = self.both("progress", job)
            assert (progress.state, progress.open) == (expected.state, len(expected.live))
            assert progress.ok == progress.failed == expected.counted
            held = {shard: holder.token for shard, holder in expected.live.items() if holder is not None}
            assert progress.live == held
            over = {shard for shard, holder in expected.live.items() if holder is not None and holder.ran_out}
            assert [set(store.expired(job)) for store in self.stores] == [over, over]
            assert progress.reason == (None if expected.state == "running" else f"it was {expected.state}")
        assert self.both("running", self.queue) == sorted(
            job for job, expected in self.jobs.items() if expected.state == "running"
        )

    @invariant()
    def nothing_is_out_of_sight(self) -> None:
        for store in self.stores:
            due = store.due(self.queue)
            waiting = 0
            for job, expected in self.jobs.items():
                for shard, holder in expected.live.items():
                    waits = store.waited(self.queue, expected.priority, f"{job} {shard}") is not None  # type: ignore[arg-type]
                    waiting += waits
                    is_due = f"{job} {shard}" in due
                    assert [waits, is_due, holder is not None and expected.state == "running"].count(True) == (
                        expected.state == "running"
                    )
            assert sum(store.waiting(self.queue).values()) == waiting

    def teardown(self) -> None:
        """Deliver what there is until nothing is open: every shard of a running job comes to its end."""
        if not hasattr(self, "jobs"):
            return
        for job, expected in self.jobs.items():
            if expected.state != "running":
                continue
            for shard, holder in list(expected.live.items()):
                token = holder.token if holder is not None else "the last"
                if holder is None:
                    assert self.both("begin", job, shard, token, LONG)[0] == "begun"
                assert self.both("finish", job, shard, token, 1, {})
            assert self.both("progress", job).open == 0
        assert all(self.both("waiting", self.queue)[priority] == 0 for priority in PRIORITIES)
        for job in self.jobs:
            self.both("forget", job)


def test_each_shard_counts_once_and_none_is_lost_whatever_the_broker_does(store: JobStore) -> None:
    Transitions.kept = store
    quick = settings(
        max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Transitions, settings=quick)  # type: ignore[no-untyped-call]
