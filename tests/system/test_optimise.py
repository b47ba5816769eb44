"""`stylize --optimise` as a service does it: only where PyTorch is, with its steps told, and ended within one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.system.processes import ROOT, drawn, left_behind, one_sentence, pixelmill, results, until
from tests.system.service import kill_whole, worker_on
from workers import Client

WITHOUT_TORCH = {"PYTHONPATH": f"{ROOT / 'tests' / 'without_torch'}:{ROOT}"}
PATIENCE = 90.0


def two_pictures(folder: Path) -> tuple[Path, Path]:
    """A picture, and another whose style it is to take."""
    return drawn(folder / "photos" / "a.jpg", seed=1), drawn(folder / "style.jpg", seed=2)


def test_a_run_without_torch_says_at_once_what_to_install_and_where_else_it_can_be_done(tmp_path: Path) -> None:
    photo, style = two_pictures(tmp_path)

    words = ["run", "stylize", photo, "--optimise", "--style", style, "--out", tmp_path / "out"]
    said = one_sentence(pixelmill(*words, **WITHOUT_TORCH))

    assert "pip install 'pixelmill[export]'" in said
    assert "PIXELMILL_BROKER" in said
    assert "a queue of their own" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.heavy
@pytest.mark.service
@pytest.mark.torch
def test_a_job_waits_for_a_worker_with_torch_tells_its_steps_and_ends_within_one(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")
    photo, style = two_pictures(tmp_path)
    client, out = Client(redis_server.url), tmp_path / "out"
    params = {"styles": [str(style)], "size": 128, "steps": 12, "keep_every": 5}
    with worker_on(redis_server, tmp_path, **WITHOUT_TORCH):
        job = client.submit("optimise", photo, output=out, params=params)
        other = client.submit("classify", photo, output=tmp_path / "labels", overlays=False)
        assert client.wait(other, timeout=PATIENCE).state == "done"
        waiting, service = client.status(job), client.service()

        with worker_on(redis_server, tmp_path, PIXELMILL_OPTIMISE="only", OMP_NUM_THREADS="1"):
            status = client.wait(job, timeout=PATIENCE)
            long = client.submit("optimise", photo, output=tmp_path / "long", params={**params, "steps": 5000})
            told = until(lambda: client.status(long).steps, "it tells its steps", PATIENCE)
            cancelled = client.cancel(long)

    assert waiting.state == "pending"
    assert "waiting for a worker with PyTorch" in (waiting.trouble or "")
    assert service.waiting["for torch"] == 1
    assert (status.state, status.provider) == ("done", "torch-cpu")
    picture = results(out)["a.jpg"]["picture"]
    assert picture["kept"] == ["steps/a.step-0005.jpg", "steps/a.step-0010.jpg"]
    assert all((out / name).is_file() for name in (picture["file"], *picture["kept"]))
    assert told.startswith("a.jpg: step ")
    assert told.endswith(" of 5,000")
    assert (cancelled.state, cancelled.finished, cancelled.at_work) == ("cancelled", 0, 0)
    assert not (tmp_path / "long" / "pictures").exists()


@pytest.mark.heavy
@pytest.mark.service
@pytest.mark.torch
def test_an_optimisation_whose_worker_was_killed_in_the_middle_is_done_once_by_another(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")
    photo, style = two_pictures(tmp_path)
    client, out = Client(redis_server.url), tmp_path / "out"
    params = {"styles": [str(style)], "size": 128, "steps": 60, "keep_every": 20}
    with worker_on(redis_server, tmp_path, OMP_NUM_THREADS="1") as first:
        job = client.submit("optimise", photo, output=out, params=params)
        until(lambda: (out / "steps" / "a.step-0020.jpg").is_file(), "it is in the middle", PATIENCE)
        unfinished = client.status(job).finished
        kill_whole(first)
    with worker_on(redis_server, tmp_path, OMP_NUM_THREADS="1"):
        status = client.wait(job, timeout=PATIENCE)

    assert unfinished == 0
    assert (status.state, status.finished) == ("done", 1)
    picture = results(out)["a.jpg"]["picture"]
    assert all((out / name).is_file() for name in (picture["file"], *picture["kept"]))
    assert left_behind(out) == []


@pytest.mark.heavy
@pytest.mark.service
@pytest.mark.torch
def test_a_deadline_is_heard_between_two_steps(redis_server: RedisServer, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")
    photo, style = two_pictures(tmp_path)
    client, out = Client(redis_server.url), tmp_path / "out"
    params = {"styles": [str(style)], "size": 128, "steps": 5000}
    with worker_on(redis_server, tmp_path, PIXELMILL_OPTIMISE="only", OMP_NUM_THREADS="1"):
        job = client.submit("optimise", photo, output=out, params=params, deadline=8)
        told = until(lambda: client.status(job).steps, "it tells its steps", PATIENCE)
        status = client.wait(job, timeout=PATIENCE)
        until(lambda: client.status(job).at_work == 0, "nobody works on it any more")

    assert told.startswith("a.jpg: step ")
    assert (status.state, status.finished) == ("failed", 0)
    assert "deadline" in (status.reason or "")
    assert not (out / "pictures").exists()
