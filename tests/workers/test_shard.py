"""One attempt at one shard, with a real network, a real store, and processes that really die."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.card import model_checksum
from pipelines.catalog import SHIPPED
from pipelines.errors import ModelError
from pipelines.pipeline import Pipeline
from tests.system.processes import ROOT, drawn
from tests.workers.test_jobs import a_spec
from workers.earlier import FATAL_BEGINNINGS, FATAL_DEATHS
from workers.jobs import JobSpec, Shard
from workers.journal import RESULTS, STATE, Journal, Line, journal_folder, read_lines, settle
from workers.request import describe_exit
from workers.shard import attempt_shard
from workers.store import JobStore

MODEL = SHIPPED / "efficientnet-lite0.onnx"
NAMES = tuple(f"{n}.jpg" for n in range(6))


def open_real(spec: JobSpec) -> Pipeline:
    return pipelines.load(spec.model, spec.params)


@pytest.fixture
def spec(store: JobStore, tmp_path: Path) -> JobSpec:
    for seed, name in enumerate(NAMES):
        drawn(tmp_path / "photos" / name, seed)
    spec = a_spec(
        pipeline="classify",
        model=str(MODEL),
        model_sha256=model_checksum(MODEL),
        params={"top_k": 2},
        root=str(tmp_path / "photos"),
        output=str(tmp_path / "out"),
    )
    store.create(spec.job)
    (tmp_path / "out" / STATE).mkdir(parents=True)  # as whoever submits a job does
    return spec


def submitted(store: JobStore, spec: JobSpec, *names: str) -> Shard:
    shard = Shard(spec=spec, number=0, images=names)
    store.open(spec.job, shard.key, shard.model_dump_json())
    return shard


def attempt(
    shard: Shard, store: JobStore, open_pipeline: Callable[[JobSpec], Pipeline] = open_real, **options: Any
) -> None:
    defaults = {"threads": 2, "lease_seconds": 30.0, "roots": (Path("/"),)}
    attempt_shard(shard, store, open_pipeline, **{**defaults, **options})


def lines(spec: JobSpec) -> dict[str, Line]:
    settle(Path(spec.output))
    return {line["image"]: line for line in read_lines(Path(spec.output) / RESULTS)}


def result_lines(spec: JobSpec) -> list[str]:
    """Names in all journals of the job, one for each result written."""
    paths = journal_folder(Path(spec.output), spec.job).glob("*.jsonl")
    return sorted(line["image"] for path in paths for line in read_lines(path) if "image" in line)


def test_a_shard_is_done_and_counted(store: JobStore, spec: JobSpec) -> None:
    (Path(spec.root) / "broken.jpg").write_bytes(b"no image")

    attempt(submitted(store, spec, *NAMES, "broken.jpg"), store)

    progress = store.progress(spec.job)
    assert (progress.ok, progress.failed_by_code, progress.open) == (6, {"not_an_image": 1}, 0)
    assert progress.provider == "CPUExecutionProvider"
    assert sorted(lines(spec)) == sorted([*NAMES, "broken.jpg"])


def test_a_message_delivered_again_computes_nothing(store: JobStore, spec: JobSpec) -> None:
    shard = submitted(store, spec, *NAMES)
    attempt(shard, store)

    attempt(shard, store, open_pipeline=pytest.fail)

    assert result_lines(spec) == sorted(NAMES)
    assert store.progress(spec.job).ok == 6


def heart_has_stopped() -> None:
    """Wait until the attempt's heart-beat has learnt that there is nothing left to beat for."""
    deadline = time.monotonic() + 20
    while any(thread.name == "heart-beat" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def disturbed(at: str, disturb: Callable[[], object]) -> Callable[[JobSpec], Pipeline]:
    """A real pipeline in which something happens when it comes to an image."""

    def open_pipeline(spec: JobSpec) -> Pipeline:
        pipeline = open_real(spec)
        real = pipeline.prepare

        def prepare(source: Any, *rest: Any) -> Any:
            if source[0] == at:
                disturb()
            return real(source, *rest)

        pipeline.prepare = prepare  # type: ignore[method-assign]
        return pipeline

    return open_pipeline


def test_an_attempt_that_lost_its_lease_begins_no_further_image_and_ends_nothing(
    store: JobStore, spec: JobSpec
) -> None:
    shard = submitted(store, spec, *NAMES)

    def take_over() -> None:
        (token,) = store.progress(spec.job).live.values()
        assert store.take_back(spec.job, shard.key, token) is not None
        store.begin(spec.job, shard.key, "elsewhere:1:other", 30)
        heart_has_stopped()

    attempt(shard, store, disturbed("2.jpg", take_over), threads=1)

    assert result_lines(spec) == ["0.jpg", "1.jpg", "2.jpg"]  # the image in work is finished, the next not begun
    assert store.progress(spec.job).live == {shard.key: "elsewhere:1:other"}
    assert store.progress(spec.job).ok == 0
    assert store.progress(spec.job).open == 1


def test_an_attempt_at_a_cancelled_job_stops_counts_what_it_did_and_frees_its_lease(
    store: JobStore, spec: JobSpec
) -> None:
    def cancel() -> None:
        store.end(spec.job, "cancelled")
        heart_has_stopped()

    attempt(submitted(store, spec, *NAMES), store, disturbed("2.jpg", cancel), threads=1)

    progress = store.progress(spec.job)
    assert (progress.ok, progress.live) == (3, {})
    assert sorted(lines(spec)) == ["0.jpg", "1.jpg", "2.jpg"]


def test_an_attempt_whose_journal_was_taken_away_leaves_the_shard_to_others(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec, *NAMES), store, disturbed("2.jpg", lambda: settle(Path(spec.output))), threads=1)

    assert store.progress(spec.job).open == 1
    assert sorted(lines(spec)) == ["0.jpg", "1.jpg"]


def test_the_next_attempt_goes_on_where_a_lost_one_stopped(store: JobStore, spec: JobSpec) -> None:
    shard = submitted(store, spec, *NAMES)

    def lose() -> None:
        (token,) = store.progress(spec.job).live.values()
        store.take_back(spec.job, shard.key, token)
        heart_has_stopped()

    attempt(shard, store, disturbed("2.jpg", lose), threads=1)
    attempt(shard, store, disturbed("0.jpg", lambda: pytest.fail("it was finished before")))

    assert result_lines(spec) == sorted(NAMES)
    assert store.progress(spec.job).ok == 6


def test_what_a_killed_attempt_had_begun_to_write_is_removed_by_the_next(store: JobStore, spec: JobSpec) -> None:
    shard = submitted(store, spec, *NAMES)
    store.begin(spec.job, shard.key, "elsewhere:1:dead", 60)
    store.take_back(spec.job, shard.key, "elsewhere:1:dead")
    journal = Journal(Path(spec.output), spec.job, shard.key, "elsewhere:1:dead")
    journal.start("1.jpg")
    journal.close()
    overlays = Path(spec.output) / "overlays"
    overlays.mkdir()
    (overlays / ".1.jpg.123.0123abcd.tmp").touch()
    (overlays / ".11.jpg.123.0123abcd.tmp").touch()  # somebody else's

    attempt(shard, store)

    assert [path.name for path in overlays.glob(".*")] == [".11.jpg.123.0123abcd.tmp"]


def test_an_attempt_that_wakes_after_its_job_was_closed_leaves_no_journal(store: JobStore, spec: JobSpec) -> None:
    shard = submitted(store, spec, *NAMES)

    def frozen_meanwhile(spec: JobSpec) -> Pipeline:
        (token,) = store.progress(spec.job).live.values()
        store.take_back(spec.job, shard.key, token)
        store.end(spec.job, "closed")
        return open_real(spec)

    attempt(shard, store, frozen_meanwhile)

    assert not journal_folder(Path(spec.output), spec.job).exists()


def test_an_attempt_that_lost_its_lease_cannot_fail_the_job(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = submitted(store, spec, *NAMES)

    def frozen_meanwhile(path: Path, pixels: object) -> None:
        (token,) = store.progress(spec.job).live.values()
        store.take_back(spec.job, shard.key, token)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr("workers.images.write_overlay", frozen_meanwhile)

    attempt(shard, store, threads=1)

    assert store.progress(spec.job).state == "running"
    assert store.progress(spec.job).open == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "a limit is reached"),
        (errno.EROFS, "check the permissions"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_output_that_cannot_be_written_ends_the_job_with_the_reason(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(path: Path, pixels: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("workers.images.write_overlay", refuse)

    attempt(submitted(store, spec, *NAMES), store)

    progress = store.progress(spec.job)
    assert progress.state == "failed"
    assert words in (progress.reason or "")
    assert progress.live == {}


def test_a_model_that_will_not_load_ends_the_job(store: JobStore, spec: JobSpec) -> None:
    def refuse(spec: JobSpec) -> Pipeline:
        raise ModelError("model file m.onnx is refused")

    attempt(submitted(store, spec, *NAMES), store, refuse)

    assert store.progress(spec.job).reason == "model file m.onnx is refused"
    assert store.progress(spec.job).live == {}


@pytest.mark.parametrize("what", ["input folder", "output folder", "model file"])
def test_a_job_outside_the_workers_roots_is_refused(store: JobStore, spec: JobSpec, tmp_path: Path, what: str) -> None:
    allowed = {"input folder": spec.root, "output folder": spec.output}
    roots = tuple(Path(folder) for name, folder in allowed.items() if name != what)
    (tmp_path / "mine.onnx").touch()
    moved = spec.model_copy(update={"model": str(tmp_path / "mine.onnx")}) if what == "model file" else spec

    attempt(submitted(store, moved, *NAMES), store, pytest.fail, roots=roots)

    assert f"{what} " in (store.progress(spec.job).reason or "")
    assert "lies outside" in (store.progress(spec.job).reason or "")


def test_an_image_that_leaves_the_roots_fails_alone(store: JobStore, spec: JobSpec, tmp_path: Path) -> None:
    drawn(tmp_path / "secret.jpg")
    (Path(spec.root) / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (Path(spec.root) / "loop.jpg").symlink_to("loop.jpg")
    names = ("0.jpg", "link.jpg", "../secret.jpg", "loop.jpg", "nul\0.jpg")

    attempt(submitted(store, spec, *names), store, roots=(Path(spec.root), Path(spec.output)))

    codes = {name: line.get("error", {}).get("code") for name, line in lines(spec).items()}
    assert codes == {
        "0.jpg": None,
        "link.jpg": "outside_roots",
        "../secret.jpg": "outside_roots",
        "loop.jpg": "unreadable",
        "nul\0.jpg": "outside_roots",
    }


def test_a_picture_that_changes_while_it_is_read_does_not_pass_for_finished(store: JobStore, spec: JobSpec) -> None:
    from workers.folder import open_source
    from workers.journal import Finished

    photo = Path(spec.root) / "0.jpg"
    real = open_real(spec)
    finish = real.finish

    def change_then_finish(*arguments: Any) -> Any:
        drawn(photo, seed=77)
        return finish(*arguments)

    real.finish = change_then_finish  # type: ignore[method-assign]

    attempt(submitted(store, spec, "0.jpg"), store, lambda _: real)
    settle(Path(spec.output))

    (found,) = open_source(str(photo)).scan()
    assert not Finished(Path(spec.output), spec.fingerprint).covers(found, photo.parent)


# A worker process of one attempt that is killed by what it works on.
VICTIM = """
import os, signal, sys
from pathlib import Path
import pipelines
from workers.jobs import Shard
from workers.shard import attempt_shard
from workers.store import JobStore

url, message, poison = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def open_pipeline(spec):
    if poison == "the model":
        die()
    pipeline = pipelines.load(spec.model, spec.params)
    real = pipeline.prepare
    pipeline.prepare = lambda source, *rest: die() if source[0] == poison else real(source, *rest)
    return pipeline

attempt_shard(Shard.model_validate_json(message), JobStore(url), open_pipeline, threads=2, lease_seconds=60,
              roots=(Path("/"),))
"""


def die_until_it_ends(shard: Shard, store: JobStore, poison: str) -> int:
    """Start processes for a shard, as a pool does when its children die; give how many died."""
    command = [sys.executable, "-c", VICTIM, store.url, shard.model_dump_json(), poison]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for deaths in range(10):
        code = subprocess.run(command, env=env, timeout=60, check=False, capture_output=True).returncode
        if code == 0:
            return deaths
        assert code == -signal.SIGKILL
        holder = store.holder(shard.spec.job, shard.key)
        assert holder is not None
        store.note_death(shard.spec.job, shard.key, holder, describe_exit("prematurely: signal 9 (SIGKILL) Job: 1."))
    raise AssertionError("it dies for ever")


def test_an_image_that_kills_its_process_is_named_and_all_others_are_done(store: JobStore, spec: JobSpec) -> None:
    drawn(Path(spec.root) / "poison.jpg", seed=50)
    shard = submitted(store, spec, *NAMES[:3], "poison.jpg", *NAMES[3:])

    deaths = die_until_it_ends(shard, store, "poison.jpg")

    assert deaths == FATAL_DEATHS
    assert result_lines(spec) == sorted([*NAMES, "poison.jpg"])  # what earlier attempts finished was kept
    found = lines(spec)
    assert found["poison.jpg"]["error"] == {
        "code": "crashed",
        "message": "killed by signal 9 (SIGKILL) while decoding, 3 times",
    }
    assert all(found[name]["status"] == "ok" for name in NAMES)
    assert (store.progress(spec.job).ok, store.progress(spec.job).failed_by_code) == (6, {"crashed": 1})


def test_a_model_that_kills_every_process_that_loads_it_ends_the_job(store: JobStore, spec: JobSpec) -> None:
    deaths = die_until_it_ends(submitted(store, spec, *NAMES), store, "the model")

    assert deaths == FATAL_BEGINNINGS
    assert store.progress(spec.job).state == "failed"
    assert f"died {FATAL_BEGINNINGS} times while they loaded model" in (store.progress(spec.job).reason or "")
