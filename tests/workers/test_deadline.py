"""When a job's deadline is, and what becomes of a job that has passed it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.workers.test_jobs import a_spec
from workers.app import make_app
from workers.deadline import parse_deadline, seconds_left
from workers.embedded import EmbeddedBroker
from workers.errors import JobError
from workers.jobs import JobSpec
from workers.journal import RESULTS, Journal, read_lines
from workers.manifest import ManifestWriter, read_entries
from workers.registry import Registry
from workers.retrying import images_again
from workers.settings import settings
from workers.settling import Unsettled, unsettled_key
from workers.status import Status, status_of
from workers.steward import Steward
from workers.store import JobStore


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (" 3 m ", 180.0),
        ("2026-11-24T18:00:00+01:00", datetime(2026, 11, 24, 17, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_deadline_is_a_span_or_a_moment(text: str, meant: object) -> None:
    assert parse_deadline(text) == meant


def test_a_moment_without_a_zone_on_the_command_line_is_this_machines() -> None:
    moment = parse_deadline("2026-11-24 18:00")

    assert isinstance(moment, datetime)
    assert moment.tzinfo is not None
    assert moment.replace(tzinfo=None) == datetime(2026, 11, 24, 18)


@pytest.mark.parametrize("text", ["soon", "-5", "5w", "", "٣m", "1e3", "nan"])
def test_what_is_no_deadline_is_refused_with_examples(text: str) -> None:
    with pytest.raises(JobError, match="write 90s, 30m, 2h or 1d"):
        parse_deadline(text)


@pytest.mark.parametrize(
    "deadline",
    [0, -1.0, float("nan"), float("inf"), 8 * 86400, timedelta(seconds=-1), datetime(2020, 1, 1, tzinfo=UTC)],
)
def test_a_deadline_in_the_past_or_after_a_week_is_refused(deadline: float) -> None:
    with pytest.raises(JobError, match="up to 7 days in the future"):
        seconds_left(deadline)


def test_a_datetime_without_a_zone_is_refused_in_a_program() -> None:
    with pytest.raises(JobError, match="no time zone"):
        seconds_left(datetime(2030, 1, 1))


def test_spans_and_moments_come_to_the_same_seconds() -> None:
    assert seconds_left(None) is None
    assert seconds_left(timedelta(minutes=2)) == 120
    assert seconds_left(datetime.now(UTC) + timedelta(minutes=2)) == pytest.approx(120, abs=30)


@pytest.fixture
def registry(store: JobStore) -> Registry:
    return Registry(store)


@pytest.fixture
def steward(broker: EmbeddedBroker) -> Steward:
    return Steward(make_app(broker.url), JobStore(broker.url), settings().queue)


def a_job(registry: Registry, output: Path, seconds: float) -> JobSpec:
    """A job of three images, the first of which is done."""
    spec = a_spec(output=str(output), root=str(output.parent / "photos"))
    registry.create(spec, "photos/", "client", seconds=seconds)
    with ManifestWriter(output, spec.job) as manifest:
        for number in range(3):
            manifest.append((f"{number}.jpg",))
    registry.listing(spec.job, 3, 0, shards=3)
    first = next(read_entries(output, spec.job))
    assert registry.advance(spec.job, 0, first.end, "00000000", "m")
    registry.store.begin(spec.job, "00000000", "worker", 60)
    journal = Journal(output, spec.job, "00000000", "a:1:worker")
    journal.result({"image": "0.jpg", "status": "ok"})
    journal.close()
    registry.store.finish(spec.job, "00000000", "worker", 1, {})
    return spec


def unsettled(registry: Registry, root: Path) -> Unsettled:
    return Unsettled(registry, settings().queue, (root,))


def status(registry: Registry, spec: JobSpec) -> Status:
    found = status_of(registry, spec.job)
    assert found is not None
    return found


def test_a_job_that_has_passed_its_deadline_fails_with_its_name(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)

    steward.tend(spec.job)

    ended = registry.store.progress(spec.job)
    assert ended.state == "failed"
    assert ended.reason is not None
    assert ended.reason.startswith("DeadlineExceeded: its deadline ")
    assert ended.reason.endswith("passed with 1 of 3 images finished")
    assert registry.store.beat(spec.job, "00000001", "worker", 5, 0, 0) == "lost"
    assert registry.store.begin(spec.job, "00000001", "worker", 5)[0] == "gone"


def test_what_was_done_is_merged_whoever_ended_it_and_the_rest_can_be_tried_again(
    registry: Registry, tmp_path: Path
) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)
    assert status(registry, spec).state == "failed"

    unsettled(registry, tmp_path).settle()

    assert [line["image"] for line in read_lines(tmp_path / "out" / RESULTS)] == ["0.jpg"]
    assert images_again(spec, only_failures=True).names == ("1.jpg", "2.jpg")


def test_results_are_not_merged_while_an_image_is_in_work(registry: Registry, store: JobStore, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)
    store.open(spec.job, "00000001", "m")
    store.begin(spec.job, "00000001", "worker", 60)
    assert status(registry, spec).state == "failed"

    unsettled(registry, tmp_path).settle()
    before = (tmp_path / "out" / RESULTS).exists()
    store.finish(spec.job, "00000001", "worker", 0, {})
    unsettled(registry, tmp_path).settle()

    assert not before
    assert (tmp_path / "out" / RESULTS).exists()


def test_a_worker_merges_nothing_outside_its_roots(registry: Registry, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)
    assert status(registry, spec).state == "failed"

    unsettled(registry, tmp_path / "elsewhere").settle()

    assert not (tmp_path / "out" / RESULTS).exists()


def test_a_job_that_is_forgotten_is_not_looked_for_again(registry: Registry, store: JobStore, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)
    assert status(registry, spec).state == "failed"
    registry.forget(spec.job)

    unsettled(registry, tmp_path).settle()

    assert not store.redis.exists(unsettled_key(settings().queue))


def test_whoever_looks_ends_a_job_that_no_worker_looks_after(registry: Registry, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)

    found = status(registry, spec)

    assert (found.state, found.finished, found.total) == ("failed", 1, 3)
    assert found.deadline is not None
    assert spec.job not in registry.store.running(settings().queue)


def test_a_job_before_its_deadline_goes_on(registry: Registry, steward: Steward, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=3600)

    steward.tend(spec.job)

    assert status(registry, spec).state == "running"


def test_a_job_whose_images_are_done_is_drawn_up_after_its_deadline(
    registry: Registry, steward: Steward, tmp_path: Path
) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=3600)
    steward.tend(spec.job)
    for shard in ("00000001", "00000002"):
        registry.store.begin(spec.job, shard, "worker", 60)
        registry.store.finish(spec.job, shard, "worker", 1, {})
    registry.store.redis.hset(registry.store._keys(spec.job)[0], "deadline", registry.now() - 1)

    steward.tend(spec.job)

    assert list(registry.store.messages(spec.job)) == ["close"]
    assert status(registry, spec).state == "running"


def test_a_cancelled_job_stays_cancelled_after_its_deadline(registry: Registry, tmp_path: Path) -> None:
    spec = a_job(registry, tmp_path / "out", seconds=-1)
    registry.store.end(spec.job, "cancelled", "cancelled by a client")

    assert status(registry, spec).state == "cancelled"
