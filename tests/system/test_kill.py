"""Whatever is killed in the middle of a run, the results are those of an undisturbed one."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.processes import (
    Lines,
    alive_of,
    broker_of,
    children,
    descendants,
    finished_images,
    journals,
    left_behind,
    photographs,
    pixelmill,
    processes_for,
    results,
    started,
    until,
    without_timings,
    worker_of,
)

IMAGES = 100


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("kill") / "photos", IMAGES)


@pytest.fixture(scope="module")
def undisturbed(photos: Path) -> Lines:
    output = photos.parent / "undisturbed"
    done = pixelmill("run", "detect", photos, "--out", output)
    assert done.returncode == 0, done.stderr
    return without_timings(results(output))


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out"
    assert left_behind(tmp_path / "out") == []


def in_the_middle(output: Path) -> None:
    until(lambda: finished_images(output) >= IMAGES // 5, "a fifth of the images is done")


def ends(run: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = run.communicate(timeout=90)
    return run.returncode, said


def test_a_killed_pool_child_changes_nothing(photos: Path, undisturbed: Lines, output: Path) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        worker = worker_of(run.pid)
        assert worker is not None
        worker.children()[0].kill()
        code, said = ends(run)

    assert code == 0, said
    assert without_timings(results(output)) == undisturbed


def test_a_worker_killed_whole_is_noticed_and_its_shards_run_again_within_ten_seconds(
    photos: Path, undisturbed: Lines, output: Path
) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        worker = worker_of(run.pid)
        assert worker is not None
        family = [worker, *worker.children()]
        for process in family:
            process.suspend()
        held = {path.name.partition(".")[0] for path in journals(output)}
        cut_off = {shard for shard in held if not _is_whole(output, shard)}
        for process in family:
            process.kill()
        killed_at = time.monotonic()
        until(lambda: all(_attempts(output, shard) > 1 for shard in cut_off) or run.poll() is not None, "begun again")
        again_after = time.monotonic() - killed_at
        code, said = ends(run)

    assert code == 0, said
    assert again_after < 10
    assert without_timings(results(output)) == undisturbed


def _attempts(output: Path, shard: str) -> int:
    return len(list(output.glob(f".pixelmill/journal/*/{shard}.*.jsonl")))


def _is_whole(output: Path, shard: str) -> bool:
    """Whether a shard's journal has a result for every image it began."""
    text = "".join(text for path, text in journals(output).items() if path.name.startswith(f"{shard}."))
    return text.count('{"start":') == text.count('{"image":')


def test_a_run_killed_takes_broker_and_worker_with_it_and_the_same_command_completes(
    photos: Path, undisturbed: Lines, output: Path
) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        everyone = descendants(run.pid)
        broker = broker_of(run.pid)
        assert broker is not None
        socket_folder = Path((output / ".pixelmill" / "broker" / "socket-folder").read_text())
        run.send_signal(signal.SIGKILL)
        run.wait()
        alive = alive_of(everyone)
    assert len(everyone) >= 4  # broker, worker, two children
    assert alive == []
    kept = finished_images(output)

    done = pixelmill("run", "detect", photos, "--out", output, "--json")

    assert done.returncode == 0, done.stderr
    assert f'"finished_before": {kept},' in done.stdout
    assert without_timings(results(output)) == undisturbed
    assert not socket_folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_what_is_done_and_leaves_nothing(
    photos: Path, undisturbed: Lines, output: Path, number: signal.Signals
) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        everyone = descendants(run.pid)
        socket_folder = Path((output / ".pixelmill" / "broker" / "socket-folder").read_text())
        interrupted_at = time.monotonic()
        run.send_signal(number)
        code, said = ends(run)
        took = time.monotonic() - interrupted_at

    assert code == 130, said
    assert took < 10
    kept = without_timings(results(output))
    assert IMAGES // 5 <= len(kept) < IMAGES
    assert kept.items() <= undisturbed.items()
    assert alive_of(everyone) == []
    assert not socket_folder.exists()


def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing(photos: Path, undisturbed: Lines, output: Path) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        everyone = descendants(run.pid)
        worker = worker_of(run.pid)
        assert worker is not None
        for child in worker.children():
            child.suspend()  # so that the first one has something to wait for
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGINT)
        code, said = ends(run)

    assert code == 130, said
    assert "Traceback" not in said
    assert alive_of(everyone) == []
    kept = finished_images(output)
    done = pixelmill("run", "detect", photos, "--out", output)
    assert done.returncode == 0, done.stderr
    assert kept >= IMAGES // 5
    assert without_timings(results(output)) == undisturbed


def test_a_child_frozen_for_longer_than_its_lease_changes_nothing(
    photos: Path, undisturbed: Lines, output: Path
) -> None:
    with started("run", "detect", photos, "--out", output, PIXELMILL_LEASE_SECONDS="1") as run:
        in_the_middle(output)
        worker = worker_of(run.pid)
        assert worker is not None
        frozen = worker.children()[0]
        held = list(journals(output))
        frozen.suspend()
        try:
            # its shard is given out again when the lease has run out, to the other child
            until(
                lambda: (
                    any(_attempts(output, path.name.partition(".")[0]) > 1 for path in held) or run.poll() is not None
                ),
                "its shard has a second attempt",
            )
        finally:
            if frozen.is_running():
                frozen.resume()
        code, said = ends(run)

    assert code == 0, said
    assert without_timings(results(output)) == undisturbed


def test_a_broker_that_dies_ends_the_run_with_one_sentence_and_the_same_command_completes(
    photos: Path, undisturbed: Lines, output: Path
) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        in_the_middle(output)
        broker = broker_of(run.pid)
        assert broker is not None
        broker.kill()
        code, said = ends(run)

    assert code == 1
    assert "the broker went away" in said
    assert "Traceback" not in said
    assert len(results(output)) >= IMAGES // 5
    assert processes_for(output) == []
    done = pixelmill("run", "detect", photos, "--out", output)
    assert done.returncode == 0, done.stderr
    assert without_timings(results(output)) == undisturbed


def test_a_worker_killed_while_it_draws_up_the_report_draws_it_again(
    photos: Path, undisturbed: Lines, output: Path
) -> None:
    with started("run", "detect", photos, "--out", output) as run:
        until(lambda: (output / "results.jsonl").exists() or run.poll() is not None, "the results are merged")
        worker = worker_of(run.pid)
        for child in children(worker.pid) if worker is not None else []:
            with contextlib.suppress(psutil.NoSuchProcess):  # the report may be done by now
                child.kill()
        code, said = ends(run)

    assert code == 0, said
    assert (output / "report.html").exists()
    assert without_timings(results(output)) == undisturbed
