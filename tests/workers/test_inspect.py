"""`pixelmill inspect` says what a pipeline would make of a picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def inspect(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from workers.cli import main; main()", "inspect", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif, progressive=True, icc_profile=b"profile")
    picture.convert("LA").save(tmp_path / "see-through.png")
    picture.save(tmp_path / "Käse 写真.png")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:-50])
    (tmp_path / "page.jpg").write_text("<!doctype html><title>404</title>")
    return tmp_path


def test_a_picture_is_described_as_a_pipeline_sees_it(folder: Path) -> None:
    done = inspect(folder, "turned.jpg", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    (report,) = json.loads(done.stdout)
    assert (report["width"], report["height"]) == (40, 60)
    assert report["stored"] == {"width": 60, "height": 40}
    assert (report["format"], report["progressive"], report["icc_profile"]) == ("JPEG", True, True)
    assert (report["bit_depth"], report["channels"], report["layout"], report["orientation"]) == (8, 3, "rgb", 6)
    assert [c["what"] for c in report["conversions"]] == ["exif orientation 6 applied"]
    assert report["budgets"]["pixels"] == 2400
    assert report["budgets"]["bytes"] == (folder / "turned.jpg").stat().st_size


def test_the_text_says_what_is_converted_and_why(folder: Path) -> None:
    done = inspect(folder, "see-through.png", "Käse 写真.png")

    assert (done.returncode, done.stderr) == (0, "")
    assert "2 (grey + alpha), 8 bits each" in done.stdout
    assert "grey to rgb (models take three channels" in done.stdout
    assert "alpha over white (models know no transparency)" in done.stdout
    assert "Käse 写真.png" in done.stdout
    assert "nothing" in done.stdout


def test_every_conversion_has_a_reason() -> None:
    from pipelines.headers import Header
    from pipelines.image import conversions
    from workers.commands.inspect import _why

    made = [
        what
        for colour in ("grey", "palette", "cmyk")
        for what in conversions(Header("PNG", 1, 1, 16, 1, colour, alpha=True, orientation=3, frames=2))
    ]
    assert len(made) == 15
    assert all(_why(what) for what in made)


def test_what_cannot_be_read_is_said_beside_what_can(folder: Path) -> None:
    done = inspect(folder, "turned.jpg", "cut.jpg", "page.jpg", "missing.jpg", "--json")

    assert (done.returncode, done.stderr) == (1, "")
    reports = json.loads(done.stdout)
    assert [r.get("error", {}).get("code") for r in reports] == [None, "truncated", "not_an_image", "not_found"]
    assert reports[1]["orientation"] == 6  # the header was still there
    text = inspect(folder, "page.jpg").stdout
    assert "this file is HTML, not an image" in text


def test_the_budgets_of_the_environment_hold(folder: Path) -> None:
    done = inspect(folder, "turned.jpg", "--json", PIXELMILL_MAX_PIXELS="2399")

    assert done.returncode == 1
    (report,) = json.loads(done.stdout)
    assert report["error"]["code"] == "too_many_pixels"
    assert report["budgets"]["max_pixels"] == 2399


def test_the_planes_are_drawn(folder: Path) -> None:
    done = inspect(folder, "turned.jpg", "--planes", "planes.png")

    assert (done.returncode, done.stderr) == (0, "")
    assert "planes.png" in done.stdout
    with Image.open(folder / "planes.png") as sheet:
        assert min(sheet.size) > 500


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["turned.jpg", "see-through.png", "--planes", "p.png"], 2, "draws one image"),
        (["turned.jpg", "--planes", "p.txt"], 2, "must end in .png"),
        (["turned.jpg", "--planes", "no/such/folder/p.png"], 1, "can't be written"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_use_is_one_sentence(folder: Path, arguments: list[str], code: int, words: str) -> None:
    done = inspect(folder, *arguments)

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_examples_without_loading_a_decoder(folder: Path) -> None:
    code = (
        "import sys\n"
        "import workers.commands.inspect\n"
        "print([m for m in ('cv2', 'numpy', 'PIL', 'rich', 'onnxruntime') if m in sys.modules])\n"
    )
    root = Path(__file__).resolve().parents[2]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)

    assert "pixelmill inspect photo.jpg" in inspect(folder, "--help").stdout
    assert loaded.stdout.strip() == "[]"
