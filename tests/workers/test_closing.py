"""The closing of a job: its report is made once, made again, or named as what failed."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.workers import test_shard
from tests.workers.test_shard import NAMES, attempt, lines, submitted
from workers.closing import FATAL_CLOSINGS, close_job
from workers.jobs import Close, JobSpec
from workers.journal import settle
from workers.resume import note_closed
from workers.store import JobStore

spec = test_shard.spec  # a fixture


def a_close(store: JobStore, spec: JobSpec) -> Close:
    close = Close(spec=spec, summary={})
    store.open(spec.job, close.key, close.model_dump_json())
    return close


def test_a_report_that_kills_every_process_ends_the_job_with_its_results_safe(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec, *NAMES), store)
    close = a_close(store, spec)
    settle(Path(spec.output))
    for number in range(FATAL_CLOSINGS):
        assert store.begin(spec.job, close.key, f"elsewhere:{number}:x", -1)[0] == "begun"
        store.note_death(spec.job, close.key, f"elsewhere:{number}:x", "killed by signal 9 (SIGKILL)")

    close_job(close, store, lease_seconds=5)

    assert store.progress(spec.job).state == "failed"
    assert "while it drew up the report" in (store.progress(spec.job).reason or "")
    assert len(lines(spec)) == 6


def test_a_defect_in_the_report_ends_the_job_instead_of_trying_for_ever(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("boxes")

    attempt(submitted(store, spec, *NAMES), store)
    monkeypatch.setattr("workers.contact_sheet.write_contact_sheet", fail)

    close_job(a_close(store, spec), store, lease_seconds=5)

    assert "the report could not be made (KeyError: 'boxes')" in (store.progress(spec.job).reason or "")
    assert len(lines(spec)) == 6


def test_a_patient_job_waits_when_its_last_note_meets_a_full_disk(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def where_no_file_may_grow(spec: JobSpec) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            note_closed(spec)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    patient = spec.model_copy(update={"patience_seconds": 60})
    attempt(submitted(store, patient, *NAMES), store)
    close = a_close(store, patient)
    with monkeypatch.context() as patched:
        patched.setattr("workers.closing.note_closed", where_no_file_may_grow)
        close_job(close, store, lease_seconds=5)
    held_up = store.progress(spec.job)

    close_job(close, store, lease_seconds=5)

    assert (held_up.state, held_up.open) == ("running", 1)
    assert store.progress(spec.job).state == "closed"


def test_a_report_begun_by_a_killed_process_is_made_again_and_leaves_nothing(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec, *NAMES), store)
    close = a_close(store, spec)
    store.begin(spec.job, close.key, "elsewhere:1:dead", -1)
    (Path(spec.output) / ".report.html.123.0123abcd.tmp").touch()

    close_job(close, store, lease_seconds=5)

    assert store.progress(spec.job).state == "closed"
    assert store.progress(spec.job).open == 0
    assert sorted(path.name for path in Path(spec.output).iterdir() if path.name != ".pixelmill") == [
        "contact-sheet.jpg",
        "overlays",
        "report.html",
        "results.jsonl",
    ]


def test_a_report_whose_lease_was_lost_does_not_close_the_job(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(submitted(store, spec, *NAMES), store)
    close = a_close(store, spec)

    def lose(*_: object, **__: object) -> None:
        (token,) = store.progress(spec.job).live.values()
        store.take_back(spec.job, close.key, token)

    monkeypatch.setattr("workers.report.write_report", lose)

    close_job(close, store, lease_seconds=5)

    assert store.progress(spec.job).state == "running"
    assert store.progress(spec.job).open == 1
