"""Every image has an overlay of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from workers.overlays import overlay_name, write_overlay


@pytest.mark.parametrize(
    ("image", "overlay"),
    [
        ("a.jpg", "overlays/a.jpg"),
        ("x/y.z/A.JPEG", "overlays/x/y.z/A.JPEG"),
        ("a.png", "overlays/a.png.jpg"),
        ("a.png.jpg", "overlays/a.png.jpg.jpg"),
        ("a.tar.jpg", "overlays/a.tar.jpg"),
        ("photo", "overlays/photo.overlay.jpg"),
        (".jpg", "overlays/.jpg"),
    ],
)
def test_an_overlay_is_a_jpeg_where_the_image_is(image: str, overlay: str) -> None:
    assert overlay_name(image) == overlay


# pieces that make the names most likely to collide
STEMS = st.lists(
    st.sampled_from(["a", ".jpg", ".JPG", ".png", ".jpeg", ".overlay", ".xyz", ".", "/b"]), min_size=1, max_size=5
)
NAMES = STEMS.map("".join).filter(lambda name: not name.startswith("/") and name not in (".", ".."))


@given(NAMES, NAMES)
@example("a", "a.jpg")
@example("a.png", "a.png.jpg")
@example("a.overlay", "a.overlay.jpg")
def test_no_two_images_share_an_overlay(one: str, other: str) -> None:
    assert (overlay_name(one) == overlay_name(other)) == (one == other)


@given(NAMES)
def test_an_overlay_is_always_named_as_a_jpeg(image: str) -> None:
    assert overlay_name(image).lower().endswith((".jpg", ".jpeg"))


def test_a_written_overlay_is_that_picture_and_nothing_else_is_left(tmp_path: Path) -> None:
    picture = np.full((30, 40, 3), (200, 40, 90), np.uint8)

    write_overlay(tmp_path / "overlays" / "x" / "a.jpg", picture)

    read = np.asarray(Image.open(tmp_path / "overlays/x/a.jpg").convert("RGB")).astype(int)
    assert np.abs(read - picture).max() <= 3
    assert [path.name for path in (tmp_path / "overlays" / "x").iterdir()] == ["a.jpg"]


def test_an_overlay_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_overlay(tmp_path / "a.jpg", np.zeros((4, 4, 3), np.uint8))

    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
