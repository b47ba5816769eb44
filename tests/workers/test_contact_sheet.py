from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.text import text_width
from workers.contact_sheet import wrap, write_contact_sheet

COLOURS = ((200, 40, 40), (40, 160, 40), (40, 40, 200))


def ok(dst: Path, number: int, height: int = 300, width: int = 400) -> dict[str, Any]:
    overlay = dst / "overlays" / f"{number}.jpg"
    overlay.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height), COLOURS[number % 3]).save(overlay)
    found = [{"label": "cat", "class_id": 0, "score": 0.9, "box": [0, 0, 9, 9]}]
    line = {"image": f"{number}.jpg", "status": "ok", "height": height, "width": width, "detections": found}
    return line | {"overlay": f"overlays/{number}.jpg", "pipeline": "detect", "model": {"name": "ssd", "sha256": "ab"}}


def failed(image: str) -> dict[str, Any]:
    return {"image": image, "status": "failed", "error": {"code": "truncated", "message": "the file ends early " * 30}}


def sheet_of(dst: Path, lines: list[dict[str, Any]], limit: int = 60) -> np.ndarray:
    (dst / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = write_contact_sheet(dst, limit)
    assert path == dst / "contact-sheet.jpg"
    with Image.open(path) as opened:
        assert opened.format == "JPEG"
        return np.array(opened.convert("RGB"), int)


def near(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have this colour, as far as JPEG keeps it."""
    return int((np.abs(sheet - colour).max(axis=2) < 12).sum())


def test_every_picture_of_a_small_job_is_on_the_sheet(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [ok(tmp_path, n) for n in range(3)])

    for colour in COLOURS:
        assert near(sheet, colour) == pytest.approx(256 * 192, rel=0.02)


def test_the_aspect_of_a_picture_is_kept(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [ok(tmp_path, 0, height=400, width=100)])

    assert near(sheet, COLOURS[0]) == pytest.approx(192 * 48, rel=0.08)


def test_film_strips_have_a_row_of_the_sheet_each(tmp_path: Path) -> None:
    lines = []
    for number in range(2):
        file = f"pictures/{number}.png"
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (384, 32), COLOURS[number]).save(tmp_path / file)
        picture = {"file": file, "height": 32, "width": 384, "channels": 3}
        lines.append({"image": f"{number}.png", "status": "ok", "picture": picture})

    sheet = sheet_of(tmp_path, lines)

    assert sheet.shape[1] == 2 * 32 + 4 * 256 + 3 * 20
    shown = [near(sheet, colour) for colour in COLOURS[:2]]
    assert shown == pytest.approx([768 * 64] * 2, rel=0.05)  # JPEG blurs the rims


def test_a_large_job_is_sampled_from_its_first_to_its_last_third(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [ok(tmp_path, 0), *[failed("x")] * 499, ok(tmp_path, 1), *[failed("x")] * 499], limit=2)

    assert near(sheet, COLOURS[0]) == pytest.approx(256 * 192, rel=0.02)
    assert near(sheet, COLOURS[1]) == pytest.approx(256 * 192, rel=0.02)


def test_a_failed_image_is_a_grey_tile_with_its_reason(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [ok(tmp_path, 0), failed("b.jpg")])

    assert 256 * 192 * 0.7 < near(sheet, (214, 214, 210)) < 256 * 192 * 0.99


def test_a_job_without_results_has_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("")

    assert write_contact_sheet(tmp_path) is None
    assert not (tmp_path / "contact-sheet.jpg").exists()


def test_the_original_stands_in_for_a_missing_overlay(tmp_path: Path) -> None:
    root, dst = tmp_path / "photos", tmp_path / "out"
    dst.mkdir()
    root.mkdir()
    line = ok(dst, 0)
    (dst / line.pop("overlay")).replace(root / "0.jpg")
    (dst / "results.jsonl").write_text(json.dumps(line) + "\n")

    path = write_contact_sheet(dst, root=root)

    assert path is not None
    with Image.open(path) as opened:
        assert near(np.array(opened.convert("RGB"), int), COLOURS[0]) > 256 * 192 * 0.8


def test_names_that_cannot_be_shown_do_not_stop_the_sheet(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [failed("caf\udce9.jpg"), failed("漢字\x1b.png"), failed("a" * 255)])

    assert sheet.shape[2] == 3


@pytest.mark.parametrize("width", [60, 120, 400])
def test_a_reason_is_broken_into_lines_that_fit(width: int) -> None:
    rows = wrap("the picture is 30000×30000 = 900,000,000 pixels, the limit is 100,000,000", 15, width, 4)

    assert 1 <= len(rows) <= 4
    assert all(text_width(row, 15) <= width for row in rows)


def test_a_short_reason_is_kept_whole() -> None:
    assert wrap("the file is empty (0 bytes)", 15, 1000, 4) == ["the file is empty (0 bytes)"]
