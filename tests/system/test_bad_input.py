"""Whatever can't run is refused with one clear sentence that says what to do, within seconds, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.card import read_card, with_card
from pipelines.catalog import SHIPPED
from tests.system.processes import (
    PIXELMILL,
    drawn,
    environment,
    finished_images,
    left_behind,
    one_sentence,
    photographs,
    pixelmill,
    results,
    started,
    until,
)

MODEL = SHIPPED / "efficientnet-lite0.onnx"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("bad") / "photos", 6)


def refused(*arguments: str | Path, **variables: str) -> str:
    """Run something that must be refused, within seconds; give the sentence."""
    began = time.monotonic()
    said = one_sentence(pixelmill(*arguments, **variables))
    assert time.monotonic() - began < 20
    return said


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    said = refused("run", "detect", tmp_path / "nowhere", "--out", tmp_path / "out")

    assert f"{tmp_path / 'nowhere'} does not exist" in said
    assert "give an image, a folder" in said
    assert not (tmp_path / "out").exists()


def test_an_empty_source(tmp_path: Path) -> None:
    said = refused("run", "detect", "", "--out", tmp_path / "out")

    assert "SRC is empty" in said


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("none here")

    said = refused("run", "detect", tmp_path / "photos", "--out", tmp_path / "out")

    assert "holds no images" in said
    assert ".jpg" in said


def test_a_glob_without_matches(tmp_path: Path) -> None:
    said = refused("run", "detect", str(tmp_path / "*.jpg"), "--out", tmp_path / "out")

    assert "matches no file" in said


def test_an_empty_list_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")

    said = refused("run", "detect", tmp_path / "list.txt", "--out", tmp_path / "out")

    assert "names no image" in said


def test_an_output_below_a_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refused("run", "detect", photos, "--out", tmp_path / "file" / "out")

    assert "can't be written" in said


def test_an_output_in_proc(photos: Path) -> None:
    assert "/proc/pixelmill can't be written" in refused("run", "detect", photos, "--out", "/proc/pixelmill")


def test_an_output_without_permission(photos: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the test below /proc stands for this one")
    (tmp_path / "locked").mkdir(mode=0o500)

    assert "Permission denied" in refused("run", "detect", photos, "--out", tmp_path / "locked" / "out")


def test_an_output_inside_the_input(photos: Path) -> None:
    said = refused("run", "detect", photos, "--out", photos / "out")

    assert "choose an --out outside it" in said
    assert not (photos / "out").exists()


def test_overlays_as_the_input_of_the_run_that_would_draw_them_again(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "out" / "overlays")

    said = refused("run", "detect", tmp_path / "out" / "overlays", "--out", tmp_path / "out")

    assert "choose another" in said


def test_an_unknown_pipeline_with_a_suggestion(photos: Path, tmp_path: Path) -> None:
    assert "did you mean 'detect'?" in refused("run", "detct", photos, "--out", tmp_path / "out")


def test_an_unknown_model_with_a_suggestion(photos: Path, tmp_path: Path) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", "--model", "ssd-mobilenet-v3")

    assert "did you mean 'ssd-mobilenet-v2'?" in said


def test_a_model_for_another_task(photos: Path, tmp_path: Path) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", "--model", "efficientnet-lite0")

    assert "is for the task 'classify'" in said


def test_an_unknown_class_with_a_suggestion(photos: Path, tmp_path: Path) -> None:
    assert "did you mean 'cat'" in refused("run", "detect", photos, "--out", tmp_path / "out", "--class", "catt")


@pytest.mark.parametrize(
    "options",
    [
        ["--score", "1.5"],
        ["--iou", "-1"],
        ["--max-detections", "0"],
        ["--top-k", "3"],
        ["--score", "nan"],
        ["--tile", "50"],
    ],
)
def test_a_parameter_out_of_range(photos: Path, tmp_path: Path, options: list[str]) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", *options)

    assert options[0].removeprefix("--").replace("-", "_") in said


def test_pictures_too_large_or_too_narrow_for_a_network_fail_alone_and_an_empty_one_gives_nothing(
    tmp_path: Path,
) -> None:
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name, size in (("grey", (128, 96)), ("narrow", (40_000, 1)), ("large", (3200, 2600))):
        Image.new("RGB", size, (128, 128, 128)).save(folder / f"{name}.png")

    options = ("--model", "smears-fasterrcnn", "--format", "coco,yolo,voc,labelme,csv,parquet")
    done = pixelmill("run", "detect", folder, "--out", output, *options, PIXELMILL_MEMORY_GROWTH="400")

    lines = results(output)
    assert lines["grey.png"]["detections"] == []
    assert lines["narrow.png"]["error"]["code"] == "inference_failed"
    assert "too small or too narrow" in lines["narrow.png"]["error"]["message"]
    assert lines["large.png"]["error"]["code"] == "out_of_memory"
    assert "run it in tiles (--tile 1024)" in lines["large.png"]["error"]["message"]
    assert "Traceback" not in done.stderr
    assert json.loads((output / "coco.json").read_text())["annotations"] == []


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "redis://:secret@127.0.0.1:1/0"])
def test_a_broker_that_cannot_be_reached(photos: Path, tmp_path: Path, broker: str) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", PIXELMILL_BROKER=broker)

    assert "can't be reached" in said
    assert "PIXELMILL_BROKER" in said
    assert "secret" not in said


@pytest.mark.parametrize("broker", ["nonsense", "ftp://host", "redis://[", "redis://u:pw@[::1"])
def test_a_broker_url_that_means_nothing(photos: Path, tmp_path: Path, broker: str) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", PIXELMILL_BROKER=broker)

    assert "not understood" in said
    assert "pw" not in said


def test_a_setting_that_means_nothing(photos: Path, tmp_path: Path) -> None:
    said = refused("run", "detect", photos, "--out", tmp_path / "out", PIXELMILL_THREADS="many")

    assert "PIXELMILL_THREADS" in said


def test_a_worker_without_a_broker() -> None:
    assert "a worker needs a broker" in refused("worker")


def test_a_worker_whose_broker_cannot_be_reached() -> None:
    assert "can't be reached" in refused("worker", "--broker", "redis://127.0.0.1:1")


def test_a_missing_model_file(photos: Path, tmp_path: Path) -> None:
    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--model", tmp_path / "my.onnx")

    assert "does not exist" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 this is a zip file", "no ONNX file"),
        (MODEL.read_bytes()[: 2**20], "truncated"),
        (MODEL.read_bytes()[:-1], "truncated"),
    ],
    ids=["empty", "no onnx", "first megabyte", "last byte missing"],
)
def test_a_model_file_that_is_none(photos: Path, tmp_path: Path, content: bytes, words: str) -> None:
    model = tmp_path / "my.onnx"
    model.write_bytes(content)

    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--model", model)

    assert words in said
    assert str(model) in said


def test_a_model_file_without_a_card(photos: Path, tmp_path: Path) -> None:
    from pipelines.onnxfile import with_metadata

    model = tmp_path / "my.onnx"
    model.write_bytes(with_metadata(MODEL.read_bytes(), {}))

    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--model", model)

    assert "has no card" in said
    assert "pixelmill adopt" in said


def test_a_model_file_whose_weights_are_damaged(photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "my.onnx"
    content = bytearray(MODEL.read_bytes())
    content[100:100_000] = b"\xff" * 99_900
    model.write_bytes(content)

    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--model", model)

    assert str(model) in said


def test_a_card_that_contradicts_its_graph(photos: Path, tmp_path: Path) -> None:
    card = read_card(MODEL)
    lie = card.model_copy(update={"input": card.input.model_copy(update={"name": "picture"})})
    model = tmp_path / "my.onnx"
    model.write_bytes(with_card(MODEL.read_bytes(), lie))

    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--model", model)

    assert "says input.name 'picture'" in said
    assert left_behind(tmp_path / "out") == []


def test_a_provider_that_does_not_serve(photos: Path, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    said = refused("run", "classify", photos, "--out", tmp_path / "out", "--provider", "cuda")

    assert "provider 'cuda' was asked for" in said


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = pixelmill("--debug", "run", "detect", tmp_path / "nowhere", "--out", tmp_path / "out")

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "SourceError" in done.stderr


def test_results_of_another_pipeline_or_input_are_not_mixed(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    drawn(tmp_path / "other" / "x.jpg")
    assert pixelmill("run", "classify", photos, "--out", output).returncode == 0
    before = (output / "results.jsonl").read_bytes()

    pipeline = refused("run", "detect", photos, "--out", output)
    source = refused("run", "classify", tmp_path / "other", "--out", output)

    assert "holds results of pipeline classify, not detect" in pipeline
    assert "--force" in pipeline
    assert "holds results of input" in source
    assert (output / "results.jsonl").read_bytes() == before


def test_a_second_run_into_the_same_output_at_the_same_time(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with started("run", "detect", photos, "--out", output) as first:
        until(lambda: (output / ".pixelmill" / "job.json").exists(), "the first run has begun")
        first.send_signal(signal.SIGSTOP)
        said = refused("run", "detect", photos, "--out", output)
        first.send_signal(signal.SIGCONT)
        _, errors = first.communicate(timeout=60)

    assert "another run works into" in said
    assert first.returncode == 0, errors
    assert len(results(output)) == 6


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_fills_up_ends_the_run_and_the_same_command_continues_it(photos: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "700k") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 300_000)
        said = refused("run", "detect", photos, "--out", disk / "out")
        kept = finished_images(disk / "out")
        after_failure = left_behind(disk / "out")
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        done = pixelmill("run", "detect", photos, "--out", disk / "out", "--json")
        lines = results(disk / "out")

    assert "disk is full" in said or "No space left" in said
    assert not [name for name in after_failure if "process" in name or name.endswith(".tmp")]
    assert done.returncode == 0, done.stderr
    assert f'"finished_before": {kept},' in done.stdout
    assert len(lines) == 6


def test_a_full_disk_from_the_start_is_said_at_once(photos: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    with small_disk(tmp_path / "disk", "64k") as disk:
        with contextlib.suppress(OSError):
            (disk / "ballast").write_bytes(b"x" * 65536)
        said = refused("run", "detect", photos, "--out", disk / "out")

    assert "No space left" in said


def test_a_limit_on_file_sizes_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    # noise: its overlay is the only file that outgrows the limit
    noise = np.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [*PIXELMILL, "run", "detect", str(tmp_path / "noise.png"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), preexec_fn=limit, timeout=60, check=False
    )

    assert "limit is reached (File too large)" in one_sentence(done)
    assert left_behind(tmp_path / "out") == []


def test_a_module_run_for_help_needs_no_pipeline() -> None:
    done = subprocess.run([sys.executable, "-m", "workers.cli", "run", "--help"], capture_output=True, text=True)

    assert done.returncode == 0
    assert "Examples:" in done.stdout
