"""The contract of the storage seam, kept by each that keeps it: the twin in memory, a real Valkey, a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests import redis_server
from tests.redis_server import RedisServer
from workers.embedded import EmbeddedBroker
from workers.errors import QueueFullError
from workers.jobs import new_job_id
from workers.memory_store import MemoryStore
from workers.seam import Store
from workers.store import JobStore, finished_key

SHARD = "00000000"
LONG, SHORT = 60.0, 0.05
QUEUE = "contract"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if redis_server.BINARY is None:
        pytest.skip("no redis-server here; apt-get install redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(params=["memory", "valkey", pytest.param("redis", marks=pytest.mark.service)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    broker: EmbeddedBroker = request.getfixturevalue("broker")
    kept = JobStore(broker.url if request.param == "valkey" else request.getfixturevalue("redis_url"))
    kept.redis.flushall()
    yield kept
    kept.redis.close()


@pytest.fixture
def job(store: Store) -> str:
    job = new_job_id()
    store.create(job, queue=QUEUE)
    store.open(job, SHARD, "the message")
    return job


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_shard_goes_from_open_to_done(store: Store, job: str) -> None:
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


def test_a_message_delivered_twice_is_worked_on_once(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.begin(job, SHARD, "two", LONG) == ("busy", "one")
    store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("done", "")


def test_an_end_told_twice_counts_once(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.finish(job, SHARD, "one", 5, {"corrupt": 1})
    assert not store.finish(job, SHARD, "one", 5, {"corrupt": 1})
    assert (store.progress(job).ok, store.progress(job).failed) == (5, 1)


def test_a_lease_that_ran_out_is_given_to_the_next_attempt_and_the_old_one_is_fenced(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.begin(job, SHARD, "two", LONG) == ("begun", "2")
    assert store.beat(job, SHARD, "one", LONG, 1, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.finish(job, SHARD, "two", 1, {})


def test_a_beat_before_anybody_took_it_revives_a_lease_that_ran_out(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "ok"
    assert store.expired(job) == []
    assert store.begin(job, SHARD, "two", LONG) == ("busy", "one")


def test_a_shard_taken_back_can_be_published_again(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", SHORT)
    until(lambda: store.expired(job) == [SHARD])

    assert store.take_back(job, SHARD) == "the message"
    assert store.take_back(job, SHARD) is None
    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.begin(job, SHARD, "two", LONG) == ("begun", "2")


def test_a_living_lease_is_taken_back_only_by_name(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.take_back(job, SHARD) is None
    assert store.take_back(job, SHARD, "another") is None
    assert store.take_back(job, SHARD, "one") == "the message"


def test_nothing_is_taken_back_of_a_shard_that_is_done(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.finish(job, SHARD, "one", 1, {})

    assert store.take_back(job, SHARD, "one") is None
    assert store.take_back(job, SHARD) is None


@pytest.mark.parametrize("state", ["cancelled", "failed", "closed"])
def test_a_job_that_has_ended_begins_nothing_and_stops_what_is_at_work(store: Store, job: str, state: str) -> None:
    store.open(job, "00000001", "another message")
    store.begin(job, SHARD, "one", LONG)

    store.end(job, state, "because")  # type: ignore[arg-type]

    assert store.begin(job, "00000001", "two", LONG) == ("gone", "")
    assert store.beat(job, SHARD, "one", LONG, 1, 0) == "cancelled"
    assert store.progress(job).reason == "because"


def test_what_a_cancelled_attempt_still_finished_counts(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.end(job, "cancelled")

    assert store.finish(job, SHARD, "one", 4, {})
    assert store.progress(job).ok == 4


def test_the_first_reason_stays(store: Store, job: str) -> None:
    store.end(job, "failed", "the disk is full")
    store.end(job, "failed", "and another thing")

    assert store.progress(job).reason == "the disk is full"


@pytest.mark.parametrize("then", ["closed", "failed", "cancelled"])
def test_a_job_that_has_ended_stays_as_it_ended(store: Store, job: str, then: str) -> None:
    store.end(job, "cancelled", "by a client")

    store.end(job, then, "too late")  # type: ignore[arg-type]

    assert (store.progress(job).state, store.progress(job).reason) == ("cancelled", "by a client")


def test_an_unknown_job_is_cancelled_and_whatever_is_told_of_it_changes_nothing(store: Store) -> None:
    job = new_job_id()

    store.end(job, "failed", "too late")
    store.note_death(job, SHARD, "one", "killed")

    assert store.begin(job, SHARD, "one", LONG) == ("gone", "")
    assert store.beat(job, SHARD, "one", LONG, 0, 0) == "lost"
    assert not store.finish(job, SHARD, "one", 1, {})
    assert store.take_back(job, SHARD, "one") is None
    assert store.wait(job, SHARD) is None
    assert (store.holder(job, SHARD), store.deaths(job, SHARD), store.messages(job)) == (None, {}, {})
    assert store.expired(job) == []
    assert (store.progress(job).state, store.progress(job).open) == ("cancelled", 0)


def test_a_forgotten_job_leaves_nothing_that_waits(store: Store, job: str) -> None:
    store.forget(job)

    assert store.running(QUEUE) == []
    assert store.waiting(QUEUE) == {"high": 0, "normal": 0, "bulk": 0}
    assert store.begin(job, SHARD, "one", LONG) == ("gone", "")


def test_what_waits_is_counted_by_priority_until_it_is_begun(store: Store) -> None:
    bulk, high = new_job_id(), new_job_id()
    store.create(bulk, queue=QUEUE, priority="bulk")
    store.create(high, queue=QUEUE, priority="high")
    for shard in ("0", "1"):
        store.open(bulk, shard, "message")
    store.open(high, "0", "message")

    assert store.waiting(QUEUE) == {"high": 1, "normal": 0, "bulk": 2}
    assert store.more_urgent(QUEUE, "bulk")
    assert not store.more_urgent(QUEUE, "high")
    assert store.oldest_waiting(QUEUE).keys() == {"high", "bulk"}
    assert store.waited(QUEUE, "bulk", f"{bulk} 1") is not None

    store.begin(high, "0", "one", LONG)
    store.begin(bulk, "1", "two", LONG)

    assert store.waiting(QUEUE) == {"high": 0, "normal": 0, "bulk": 1}
    assert not store.more_urgent(QUEUE, "bulk")
    assert store.waited(QUEUE, "bulk", f"{bulk} 1") is None
    assert store.running(QUEUE) == sorted([bulk, high])
    store.end(bulk, "closed")
    assert (store.running(QUEUE), store.waiting(QUEUE)["bulk"]) == ([high], 0)


def test_a_full_queue_takes_no_further_job(store: Store, job: str) -> None:
    store.open(job, "00000001", "another message")

    store.check_room(QUEUE, 3)
    store.check_room(QUEUE, 0)
    with pytest.raises(QueueFullError, match="'contract' is full: 2 shards wait, 2 may"):
        store.check_room(QUEUE, 2)


def test_a_shard_that_is_put_off_waits_when_its_pause_is_over(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.take_back(job, SHARD, "one", SHORT) == "the message"
    assert store.waiting(QUEUE)["normal"] == 0
    until(lambda: store.due(QUEUE) == [f"{job} {SHARD}"])
    assert store.wait(job, SHARD) == "the message"

    assert (store.due(QUEUE), store.waiting(QUEUE)["normal"]) == ([], 1)


def test_a_shard_that_is_held_or_done_does_not_wait(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    assert store.wait(job, SHARD) is None

    store.finish(job, SHARD, "one", 1, {})
    assert store.wait(job, SHARD) is None


def test_the_first_cause_of_a_death_stays_until_the_shard_is_done(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)
    store.note_death(job, SHARD, "one", "out of memory")
    store.note_death(job, SHARD, "one", "ended with exit status 1")
    store.note_death(job, SHARD, "two", "killed by signal 9")

    assert store.deaths(job, SHARD) == {"one": "out of memory", "two": "killed by signal 9"}
    store.finish(job, SHARD, "one", 1, {})
    store.note_death(job, SHARD, "three", "too late")
    assert store.deaths(job, SHARD) == {}


def test_what_holds_a_job_up_is_timed_until_a_shard_ends(store: Store, job: str) -> None:
    store.begin(job, SHARD, "one", LONG)

    assert store.hold_up(job, "the disk is full") == 0
    until(lambda: store.hold_up(job, "the disk is still full") > 0)
    store.finish(job, SHARD, "one", 1, {})

    assert store.hold_up(job, "the disk is full again") == 0


def test_who_holds_a_shard_and_what_serves_are_known(store: Store, job: str) -> None:
    assert store.holder(job, SHARD) is None

    store.begin(job, SHARD, "one", LONG)
    store.note_provider(job, "CPUExecutionProvider")

    assert store.holder(job, SHARD) == "one"
    assert store.progress(job).provider == "CPUExecutionProvider"
    assert store.messages(job) == {SHARD: "the message"}


def test_finished_images_are_counted_by_minute_each_once(store: Store, job: str) -> None:
    store.begin(job, SHARD, "first", SHORT)
    store.beat(job, SHARD, "first", SHORT, 3, 1)
    until(lambda: store.expired(job))
    store.take_back(job, SHARD)
    store.begin(job, SHARD, "second", LONG)
    late = store.finish(job, SHARD, "first", 4, {})
    store.finish(job, SHARD, "second", 4, {"truncated": 2})
    store.count_finished(QUEUE, 1)

    minutes = store.finished_by_minute(QUEUE)

    assert not late
    assert len(minutes) == 60
    assert sum(minutes) == sum(minutes[-2:]) == 7  # the minute may have ended meanwhile
    assert sum(store.finished_by_minute("another")) == 0


def test_an_hour_of_finished_images_is_kept_and_no_more() -> None:
    now = 7200.0
    store = MemoryStore(lambda: now)
    for _ in range(90):
        store.count_finished(QUEUE, 1)
        now += 60

    assert store.finished_by_minute(QUEUE) == [1] * 59 + [0]


def test_the_server_keeps_an_hour_of_finished_images_and_no_more(broker: EmbeddedBroker) -> None:
    store = JobStore(broker.url)
    store.redis.flushall()
    minute = store.redis.time()[0] // 60
    store.redis.hset(finished_key(QUEUE), mapping={str(minute - ago): 5 for ago in range(30, 90)})

    store.count_finished(QUEUE, 1)

    assert set(map(int, store.redis.hkeys(finished_key(QUEUE)))) >= set(range(minute - 58, minute - 29))
    assert min(map(int, store.redis.hkeys(finished_key(QUEUE)))) >= minute - 59
    assert 3600 < store.redis.ttl(finished_key(QUEUE)) <= 3660
