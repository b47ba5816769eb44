"""Jobs that need PyTorch: their queues, who serves them, and what their pictures on the way are called."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pipelines.errors import ParameterError
from pipelines.optimisers import MISSING
from tests.workers.test_job_options import asked
from workers.gateway.asked import check_harmless
from workers.gateway.problems import Problem
from workers.jobs import Close, JobSpec, Shard
from workers.optimising import check_own_worker, lanes_served, shard_images
from workers.queues import PRIORITIES, WAITING, lane, queue_for_again, queues_of, quorum_queues, waits_as
from workers.settings import Settings
from workers.stepping import step_name


def a_job(pipeline: str) -> JobSpec:
    return JobSpec(
        job="20261124-101500-1a2b3c4d", pipeline=pipeline, model="m.onnx", model_name="m", model_sha256="0" * 64,
        params={}, fingerprint="f", root="/photos", output="/out",
    )  # fmt: skip


def message(payload: Shard | Close) -> str:
    return json.dumps({"task": "any", "payload": payload.model_dump(mode="json")})


def test_only_workers_with_torch_look_into_the_queues_of_such_jobs() -> None:
    plain, torch = queues_of("q", ("plain",)), queues_of("q", ("torch",))

    assert plain == ("q.high", "q.again", "q", "q.bulk")
    assert torch == ("q.torch.high", "q.torch.again", "q.torch", "q.torch.bulk")
    assert queues_of("q")[:4] == ("q.high", "q.torch.high", "q.again", "q.torch.again")
    assert set(queues_of("q")) == {*plain, *torch} == {queue.name for queue in quorum_queues("q")}


def test_a_shard_given_out_again_stays_among_workers_that_can_do_it() -> None:
    shard = Shard(spec=a_job("optimise"), number=3, images=("a.jpg",))
    other = Shard(spec=a_job("detect"), number=3, images=("a.jpg",))
    close = Close(spec=a_job("optimise"), summary={})

    assert queue_for_again("q", message(shard)) == "q.torch.again"
    assert queue_for_again("q", message(other)) == "q.again"
    assert queue_for_again("q", message(close)) == "q.again"


def test_nobody_gives_way_to_an_urgent_shard_he_could_not_do() -> None:
    assert waits_as("detect", "high") == "high"
    assert waits_as("optimise", "high") not in PRIORITIES
    assert {waits_as(pipeline, one) for pipeline in ("detect", "optimise") for one in PRIORITIES} == set(WAITING)
    assert lane("q", "detect") == "q"


def test_a_worker_serves_what_it_is_told_and_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.optimising.can_optimise", lambda: True)
    assert lanes_served(Settings(optimise="auto")) == ("plain", "torch")
    assert lanes_served(Settings(optimise="no")) == ("plain",)
    assert lanes_served(Settings(optimise="only")) == ("torch",)

    monkeypatch.setattr("workers.optimising.can_optimise", lambda: False)
    assert lanes_served(Settings(optimise="auto")) == ("plain",)
    with pytest.raises(ParameterError, match="pip install"):
        lanes_served(Settings(optimise="only"))


def test_a_run_with_its_own_worker_says_at_once_that_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.optimising.can_optimise", lambda: False)

    with pytest.raises(ParameterError) as refused:
        check_own_worker(a_job("optimise"), Settings(broker=None))

    assert str(refused.value) == MISSING
    check_own_worker(a_job("optimise"), Settings(broker="redis://queue"))
    check_own_worker(a_job("detect"), Settings(broker=None))


def test_a_picture_that_takes_minutes_travels_alone() -> None:
    assert shard_images(a_job("optimise"), Settings(shard_images=16)) == 1
    assert shard_images(a_job("detect"), Settings(shard_images=16)) == 16


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("photo.jpg", "steps/photo.step-0100.jpg"),
        ("a/photo.JPEG", "steps/a/photo.step-0100.JPEG"),
        ("photo.png", "steps/photo.step-0100.png"),
        ("photo.webp", "steps/photo.webp.step-0100.jpg"),
        ("photo.step-0100.jpg", "steps/photo.step-0100.step-0100.jpg"),
    ],
)
def test_a_kept_picture_is_named_by_its_image_and_step(image: str, name: str) -> None:
    assert step_name(image, 100) == name


def test_images_that_differ_in_the_case_of_their_suffix_keep_different_pictures() -> None:
    names = [step_name(image, 1) for image in ("a.jpg", "a.JPG", "a.jpeg", "a.jpg.jpg", "a.step-0001.jpg", "a.png")]

    assert len(set(names)) == len(names)


def test_styles_are_said_with_their_weights_and_the_seed_is_that_of_the_noise(tmp_path: Path) -> None:
    odd = tmp_path / "a:0.5"
    odd.touch()

    request = asked("stylize", "--optimise", "--style", "wave.jpg", "--style", "udnie.jpg:0.5", "--seed", "7")

    assert request.pipeline == "optimise"
    assert request.params == {"styles": ("wave.jpg", "udnie.jpg"), "style_weights": (1.0, 0.5), "seed": 7}
    assert asked("optimise", "--style", str(odd)).params["styles"] == (str(odd),)


def test_the_words_of_optimise_belong_to_stylize_alone() -> None:
    with pytest.raises(click.UsageError, match="belongs to the pipeline stylize, not to detect"):
        asked("detect", "--optimise")
    with pytest.raises(click.UsageError, match="--style belongs to stylize --optimise"):
        asked("stylize", "--style", "wave.jpg")


def test_over_http_a_style_lies_below_a_folder_the_gateway_may_read(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("/etc/passwd")

    check_harmless("optimise", None, {"styles": [str(tmp_path / "wave.jpg")]}, (tmp_path,))

    for path in ("/etc/passwd", "wave.jpg", f"{tmp_path}/../x.jpg", str(tmp_path / "link.jpg")):
        with pytest.raises(Problem, match="file of the server"):
            check_harmless("optimise", None, {"styles": [path]}, (tmp_path,))
    with pytest.raises(Problem, match="file of the server"):
        check_harmless("optimise", None, {"styles": [str(tmp_path / "wave.jpg")]})
