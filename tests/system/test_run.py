"""Whole journeys through the real command line: a folder goes in, results come out, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines.card import with_card
from pipelines.catalog import SHIPPED
from tests.pipelines.made_images import saved, scene
from tests.system.processes import (
    Lines,
    children,
    drawn,
    left_behind,
    photographs,
    pixelmill,
    results,
    started,
    until,
    without_timings,
    worker_of,
)

# file name → the error it must become
BROKEN = {
    "broken/empty.jpg": "empty_file",
    "broken/text.jpg": "not_an_image",
    "broken/truncated.jpg": "truncated",
    "broken/truncated.png": "truncated",
    "broken/huge.png": "too_many_pixels",
    "broken/float.tif": "unsupported_pixels",
    "broken/dangling.jpg": "not_found",
    "broken/loop.jpg": "unreadable",
    "broken/pipe.jpg": "unreadable",
}
NOT_UTF8 = os.fsdecode(b"names/caf\xe9.jpg")
GOOD = ["2023/photo.jpg", "2024/photo.jpg", "names/größe 日本.jpg", NOT_UTF8, "names/a.png", "names/a.png.jpg"]


def a_difficult_folder(root: Path) -> Path:
    for seed, name in enumerate(GOOD):
        drawn(root / name, seed)
    Image.fromarray(scene()).save(root / "names/a.png")
    drawn(root / ".hidden.jpg")
    drawn(root / ".thumbnails/small.jpg")
    (root / "notes.txt").write_text("no image")
    broken = root / "broken"
    broken.mkdir()
    whole = (root / "2023/photo.jpg").read_bytes()
    (broken / "empty.jpg").touch()
    (broken / "text.jpg").write_text("<html>404</html>")
    (broken / "truncated.jpg").write_bytes(whole[: len(whole) // 3])
    png = saved(scene(200, 200), "PNG")
    (broken / "truncated.png").write_bytes(png[: len(png) // 2])
    (broken / "huge.png").write_bytes(_png_header(30_000, 30_000) + png[33:])
    Image.fromarray(np.zeros((8, 8), np.float32)).save(broken / "float.tif")
    (broken / "dangling.jpg").symlink_to("nowhere.jpg")
    (broken / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(broken / "pipe.jpg")
    return root


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


class Journey:
    """One run over the difficult folder, looked at by many tests."""

    def __init__(self, folder: Path) -> None:
        self.source = a_difficult_folder(folder / "photos")
        self.output = folder / "out"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.done = pixelmill(
            "run", "detect", self.source, "--out", self.output, "--score", "0.05", "--json", TMPDIR=str(self.temporary)
        )
        self.lines: Lines = results(self.output)
        self.summary: dict[str, Any] = json.loads(self.done.stdout)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    # short, because a unix socket's path may have 107 bytes only, and the command's temporary folder lies in here
    return Journey(Path(tempfile.mkdtemp(prefix="journey-", dir=tmp_path_factory.mktemp("j"))))


def test_every_image_has_exactly_one_line(journey: Journey) -> None:
    assert sorted(journey.lines) == sorted([*GOOD, *BROKEN])


def test_the_lines_are_in_the_order_of_folders_and_names(journey: Journey) -> None:
    assert list(journey.lines) == sorted(journey.lines, key=lambda name: name.split("/"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_one_failed_line(journey: Journey, name: str) -> None:
    line = journey.lines[name]

    assert line["status"] == "failed"
    assert line["error"]["code"] == BROKEN[name]
    assert line["error"]["message"]
    assert "detections" not in line


def test_failed_images_make_the_exit_status_three(journey: Journey) -> None:
    assert journey.done.returncode == 3, journey.done.stderr


def test_the_summary_counts_what_the_lines_say(journey: Journey) -> None:
    expected: dict[str, int] = {}
    for code in BROKEN.values():
        expected[code] = expected.get(code, 0) + 1

    assert journey.summary["done"] == len(GOOD)
    assert journey.summary["failed"] == len(BROKEN)
    assert journey.summary["failed_by_code"] == expected
    assert journey.summary["ran"] == len(GOOD) + len(BROKEN)
    assert journey.summary["interrupted"] is False
    assert all(Path(path).exists() for path in journey.summary["files"].values())


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_a_result_is_what_the_library_gives_in_process(journey: Journey, name: str) -> None:
    detect = pipelines.load("ssd-mobilenet-v2", {"score": 0.05})
    expected = detect((name, journey.source / name)).to_json()
    line = journey.lines[name]

    assert expected["detections"], "a picture without any detection would prove nothing"
    for field in ("status", "width", "height", "sha256", "detections"):
        assert line[field] == expected[field]
    assert line["model"]["sha256"] == detect.session.checksum
    assert line["fingerprint"] == detect.fingerprint
    assert line["params"]["score"] == 0.05
    assert line["provider"] == "CPUExecutionProvider"
    assert {"read", "decode", "preprocess", "session", "postprocess", "draw", "write"} <= line["timings_ms"].keys()


def test_every_good_image_has_an_overlay_of_its_own(journey: Journey) -> None:
    overlays = [journey.output / journey.lines[name]["overlay"] for name in GOOD]
    sizes = [Image.open(overlay).size for overlay in overlays]

    assert len(set(overlays)) == len(GOOD)
    assert sizes == [Image.open(journey.source / name).size for name in GOOD]


def test_nothing_is_left_behind(journey: Journey) -> None:
    assert left_behind(journey.output) == []
    assert list(journey.temporary.iterdir()) == []


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over twelve photographs: photos/ and out/."""
    folder = tmp_path_factory.mktemp("first")
    photographs(folder / "photos", 12)
    done = pixelmill("run", "classify", folder / "photos", "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def again(first: Path, tmp_path: Path) -> Path:
    """That run's results, to go on with; the photographs stay where they are."""
    shutil.copytree(first / "out", tmp_path / "out")
    return tmp_path / "out"


def classify(source: Path, output: Path, *options: str) -> dict[str, Any]:
    done = pixelmill("run", "classify", source, "--out", output, "--json", *options)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_a_second_run_computes_nothing_and_changes_nothing(first: Path, again: Path) -> None:
    before = (again / "results.jsonl").read_bytes()

    summary = classify(first / "photos", again)

    assert (summary["ran"], summary["finished_before"], summary["done"]) == (0, 12, 12)
    assert (again / "results.jsonl").read_bytes() == before


def test_another_parameter_runs_all_images_again(first: Path, again: Path) -> None:
    summary = classify(first / "photos", again, "--top-k", "2")

    assert (summary["ran"], summary["finished_before"]) == (12, 0)
    assert all(len(line["labels"]) == 2 for line in results(again).values())


def test_force_runs_all_images_again(first: Path, again: Path) -> None:
    before = results(again)

    summary = classify(first / "photos", again, "--force")

    assert (summary["ran"], summary["done"]) == (12, 12)
    assert without_timings(results(again)) == without_timings(before)


def test_a_forced_run_that_can_not_work_leaves_the_earlier_results(first: Path, again: Path, tmp_path: Path) -> None:
    before = results(again)
    # a card that contradicts its graph: only the worker, which loads the graph, finds out
    shipped = SHIPPED / "efficientnet-lite0.onnx"
    card = pipelines.read_card(shipped)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(with_card(shipped.read_bytes(), card.model_copy(update={"names": card.names[:999]})))

    done = pixelmill("run", "classify", first / "photos", "--out", again, "--force", "--model", broken)

    assert done.returncode == 1
    assert results(again) == before


def test_what_was_changed_added_touched_and_deleted_is_told_apart(first: Path, again: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    names = sorted(path.name for path in shutil.copytree(first / "photos", photos).iterdir())
    note = again / ".pixelmill" / "job.json"
    note.write_text(note.read_text().replace(str(first / "photos"), str(photos)))
    drawn(photos / names[0], seed=99)
    (photos / names[1]).touch()
    (photos / names[2]).unlink()
    drawn(photos / "new.jpg", seed=100)

    summary = classify(photos, again)

    lines = results(again)
    assert (summary["ran"], summary["finished_before"], summary["done"]) == (2, 10, 13)
    assert sorted(lines) == sorted([*names, "new.jpg"])
    assert lines[names[0]]["sha256"] != results(first / "out")[names[0]]["sha256"]
    assert (again / "overlays" / names[2]).exists()


def test_overlays_that_were_not_drawn_are_drawn_when_asked_for(first: Path, again: Path) -> None:
    shutil.rmtree(again / "overlays")

    without = classify(first / "photos", again, "--no-overlays")
    assert without["ran"] == 0
    summary = classify(first / "photos", again)

    assert summary["ran"] == 12
    assert len(list((again / "overlays").glob("*.jpg"))) == 12


def test_a_single_file_needs_neither_a_folder_nor_an_overlay(first: Path, tmp_path: Path) -> None:
    photo = sorted((first / "photos").iterdir())[0]

    summary = classify(photo, tmp_path / "out", "--no-overlays", "--top-k", "1")

    (line,) = results(tmp_path / "out").values()
    assert summary["done"] == 1
    assert line["image"] == photo.name
    assert len(line["labels"]) == 1
    assert not (tmp_path / "out" / "overlays").exists()


def test_files_where_the_command_is_called_do_not_hide_the_products_own_modules(first: Path, tmp_path: Path) -> None:
    for name in ("redis", "celery", "click", "workers", "pipelines", "json", "cv2"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    photo = sorted((first / "photos").iterdir())[0]

    done = pixelmill("run", "classify", photo, "--out", tmp_path / "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr


def test_the_summary_for_people_says_what_and_where(first: Path, again: Path) -> None:
    done = pixelmill("run", "classify", first / "photos", "--out", again)

    assert "classify with efficientnet-lite0: 12 done" in done.stdout
    assert "12 of them were finished by an earlier run" in done.stdout
    for name in ("results.jsonl", "contact-sheet.jpg", "report.html"):
        assert str(again / name) in done.stdout


def test_client_and_worker_parent_never_load_a_network_library(first: Path, tmp_path: Path) -> None:
    with started("run", "classify", first / "photos", "--out", tmp_path / "out") as run:
        worker = until(lambda: worker_of(run.pid), "the worker is there")
        until(lambda: any(_maps(child.pid) & HEAVY for child in children(worker.pid)), "a child has loaded it")
        client_maps, parent_maps = _maps(run.pid), _maps(worker.pid)
        run.communicate(timeout=60)

    assert run.returncode == 0
    assert not client_maps & HEAVY
    assert not parent_maps & HEAVY


HEAVY = {"onnxruntime", "torch", "cv2", "numpy"}


def _maps(pid: int) -> set[str]:
    """Packages of which a shared library is mapped into a process."""
    try:
        paths = [line.split(None, 5)[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line]
    except FileNotFoundError:
        return set()
    parts = {part for path in paths for part in Path(path.strip()).parts}
    return parts & HEAVY
