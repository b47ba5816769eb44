"""A disk that is really full, read-only or away in the middle of a job: its reason is seen, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.disks import TROUBLES, small_disk
from tests.system.processes import drawn, finished_images, left_behind, one_sentence, pixelmill, results, started, until
from tests.system.service import worker_on
from workers import Client

pytestmark = pytest.mark.service

IMAGES = 120
SAID = {  # the last where this user may not mount
    "full": ("the disk is full", "No space left on device", "File too large"),
    "read-only": ("Read-only file system", "Permission denied"),
    "away": ("is away", "is away"),
}


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return [drawn(tmp_path / "photos" / f"{number:03}.jpg", seed=number).name for number in range(IMAGES)]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_submitted_job_waits_for_its_disk_says_for_what_and_loses_nothing(
    trouble: str, redis_server: RedisServer, tmp_path: Path, names: list[str]
) -> None:
    client = Client(redis_server.url)
    with small_disk(tmp_path) as disk, worker_on(redis_server, tmp_path):
        out = disk.path / "out"
        job = client.submit("classify", tmp_path / "photos", output=out, overlays=False)
        until(lambda: finished_images(out) >= 10, "work has begun")
        disk.hit(trouble)
        said = until(lambda: client.status(job).trouble, "it says what it waits for")
        held = client.status(job).state
        disk.heal(trouble)
        status = client.wait(job, timeout=90)
        lines, left = results(out), left_behind(out)

    assert any(words in said for words in SAID[trouble]), said
    assert held == "running"
    assert (status.state, status.finished) == ("done", IMAGES)
    assert sorted(lines) == names
    assert left == []


@pytest.mark.parametrize("trouble", ["full", "away"])
def test_a_run_stops_with_the_reason_and_the_same_command_completes_it(
    trouble: str, tmp_path: Path, names: list[str]
) -> None:
    with small_disk(tmp_path) as disk:
        out = disk.path / "out"
        words = ["run", "classify", tmp_path / "photos", "--out", out, "--no-overlays"]
        with started(*words) as run:
            until(lambda: finished_images(out) >= 10, "work has begun")
            disk.hit(trouble)
            said = run.communicate(timeout=60)[1]
        disk.heal(trouble)
        again = pixelmill(*words)
        lines, left = results(out), left_behind(out)

    assert run.returncode == 1, said
    assert any(words in said for words in SAID[trouble]), said
    assert "Traceback" not in said
    assert again.returncode == 0, again.stderr
    assert sorted(lines) == names
    assert left == []


def test_a_run_into_a_read_only_folder_says_so_at_once(tmp_path: Path, names: list[str]) -> None:
    with small_disk(tmp_path) as disk:
        words = ["run", "classify", tmp_path / "photos", "--out", disk.path / "out", "--no-overlays"]
        disk.hit("read-only")
        said = one_sentence(pixelmill(*words))
        disk.heal("read-only")
        again = pixelmill(*words)
        lines = results(disk.path / "out")

    assert any(words in said for words in SAID["read-only"]), said
    assert again.returncode == 0, again.stderr
    assert sorted(lines) == names
