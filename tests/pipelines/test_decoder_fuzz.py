"""Thousands of damaged files: never worse than a named failure, within some time and memory, and silent.

To look for more: `python -m tests.pipelines.mutations FIRST COUNT NOTE`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.hush import hushed
from tests.pipelines.mutations import damage, decoded_or_refused, originals, with_right_sums

ROOT = Path(__file__).resolve().parents[2]
CASES = 6000


@pytest.mark.parametrize("kind", tuple(originals()))
def test_the_originals_are_sound(kind: str) -> None:
    assert decoded_or_refused(originals()[kind], None) == "ok"
    assert with_right_sums(originals()[kind]) == originals()[kind]


def test_thousands_of_damaged_files_kill_nothing_and_make_no_sound(tmp_path: Path) -> None:
    note = tmp_path / "seed"
    words = [sys.executable, "-W", "default", "-m", "tests.pipelines.mutations", "0", str(CASES), str(note)]

    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=ROOT)

    assert (done.returncode, done.stderr) == (0, ""), f"seed {note.read_text() if note.exists() else 'none'}"
    outcomes = dict(pair.split("=") for pair in done.stdout.split())
    assert sum(int(count) for name, count in outcomes.items() if name != "MB") == CASES
    assert {"ok", "corrupt", "truncated", "not_an_image", "too_many_pixels", "unsupported_pixels"} <= set(outcomes)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**64 - 1), st.sampled_from([None, (10, 10)]))
def test_any_seeds_damage_gives_a_picture_or_an_image_error(seed: int, enough: tuple[int, int] | None) -> None:
    decoded_or_refused(damage(seed)[1], enough)


def test_what_c_libraries_say_is_kept_back_only_inside_a_decode(capfd: pytest.CaptureFixture[str]) -> None:
    """And a child forked in the middle of one has its stderr back."""
    data = bytearray(originals()["jpeg"])
    data[-400:-300] = bytes(100)
    broken = np.frombuffer(bytes(data), np.uint8)

    with hushed():
        with hushed():
            cv2.imdecode(broken, cv2.IMREAD_COLOR)
        cv2.imdecode(broken, cv2.IMREAD_COLOR)
        inside = capfd.readouterr().err
        child = os.fork()
        if not child:
            cv2.imdecode(broken, cv2.IMREAD_COLOR)
            os._exit(0)
        os.waitpid(child, 0)
        forked = capfd.readouterr().err
    cv2.imdecode(broken, cv2.IMREAD_COLOR)
    outside = capfd.readouterr().err

    assert inside == ""
    assert "Corrupt JPEG data" in forked
    assert "Corrupt JPEG data" in outside
