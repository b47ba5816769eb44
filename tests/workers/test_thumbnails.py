"""The small pictures of the report and the contact sheet, for every kind of result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.draw import colour_of
from pipelines.results import RenderedPicture, SemanticMask
from tests.workers.test_report import photograph
from workers.artefacts import mask_name, write_mask, write_picture
from workers.thumbnails import shown_path, thumbnail

RED, BLUE = (200, 40, 40), (40, 40, 200)


def made(tmp_path: Path, height: int, width: int, pixels: np.ndarray | None = None) -> dict[str, Any]:
    """A job of one red photograph, out of which a blue picture was made."""
    photograph(tmp_path / "photos" / "a.jpg", height, width, RED)
    if pixels is None:
        pixels = np.full((height, width, 3), BLUE, np.uint8)
    picture = RenderedPicture(pixels)
    line = {"image": "a.jpg", "status": "ok", "height": height, "width": width, **picture.to_json()}
    line["picture"]["file"] = write_picture(tmp_path / "out", "a.jpg", picture)
    return line


def is_near(part: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(part.astype(int) - colour).max() < 12)


def test_before_and_after_of_an_upright_picture_stand_side_by_side(tmp_path: Path) -> None:
    line = made(tmp_path, 800, 600)

    both = thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192)

    assert both is not None
    height, width = both.shape[:2]
    assert height <= 192
    assert 240 <= width <= 256
    assert is_near(both[:, : width // 2 - 8], RED)
    assert is_near(both[:, width // 2 + 8 :], BLUE)


def test_before_and_after_of_a_wide_picture_stand_one_below_the_other(tmp_path: Path) -> None:
    line = made(tmp_path, 450, 800)

    both = thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192)

    assert both is not None
    height = both.shape[0]
    assert 180 <= height <= 192
    assert both.shape[1] <= 256
    assert is_near(both[: height // 2 - 8], RED)
    assert is_near(both[height // 2 + 8 :], BLUE)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (40, 30)])
def test_before_and_after_of_pictures_of_any_shape_fit(tmp_path: Path, size: tuple[int, int]) -> None:
    line = made(tmp_path, *size)

    both = thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192)

    assert both is not None
    assert both.shape[0] <= 192
    assert both.shape[1] <= 256


def test_without_the_original_the_made_picture_has_all_the_room(tmp_path: Path) -> None:
    line = made(tmp_path, 600, 800)
    (tmp_path / "photos" / "a.jpg").unlink()

    for root in (tmp_path / "photos", None):
        alone = thumbnail(tmp_path / "out", root, line, 256, 192)
        assert alone is not None
        assert alone.shape == (192, 256, 3)
        assert is_near(alone, BLUE)


def test_without_the_made_picture_there_is_nothing_to_show(tmp_path: Path) -> None:
    line = made(tmp_path, 600, 800)
    (tmp_path / "out" / line["picture"]["file"]).unlink()

    assert thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192) is None


def test_a_cut_out_is_shown_on_chequers(tmp_path: Path) -> None:
    pixels = np.full((600, 800, 4), (*BLUE, 255), np.uint8)
    pixels[:, 400:, 3] = 0
    line = made(tmp_path, 600, 800, pixels)

    alone = thumbnail(tmp_path / "out", None, line, 256, 192)

    assert alone is not None
    assert is_near(alone[:, :120], BLUE)
    assert len(np.unique(alone[:, 136:].reshape(-1, 3), axis=0)) == 2


def test_a_picture_outside_the_output_folder_is_not_shown(tmp_path: Path) -> None:
    line = made(tmp_path, 60, 80)
    line["picture"]["file"] = "../photos/a.jpg"

    assert shown_path(tmp_path / "out", line) is None
    assert thumbnail(tmp_path / "out", None, line, 256, 192) is None


def segmented(tmp_path: Path, mask_size: tuple[int, int] = (600, 800)) -> dict[str, Any]:
    """A job of one red photograph whose lower half is of class 3, without overlays."""
    photograph(tmp_path / "photos" / "a.jpg", 600, 800, RED)
    class_map = np.zeros(mask_size, np.uint8)
    class_map[mask_size[0] // 2 :] = 3
    mask = SemanticMask(class_map, ("background", "a", "b", "c"))
    write_mask(tmp_path / "out" / mask_name("a.jpg"), mask)
    return {"image": "a.jpg", "status": "ok", "height": 600, "width": 800, "mask": mask_name("a.jpg"), **mask.to_json()}


def test_without_an_overlay_the_mask_is_drawn_into_the_original(tmp_path: Path) -> None:
    shown = thumbnail(tmp_path / "out", tmp_path / "photos", segmented(tmp_path), 256, 192)

    assert shown is not None
    assert shown.shape == (192, 256, 3)
    assert is_near(shown[:80], RED)
    expected = (np.array(RED) + np.array(colour_of(2))) / 2
    assert is_near(shown[120:], tuple(expected))


def test_a_mask_that_is_gone_damaged_or_anothers_is_not_drawn(tmp_path: Path) -> None:
    line = segmented(tmp_path, mask_size=(30, 40))
    assert thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192) is None

    (tmp_path / "out" / line["mask"]).write_bytes(b"no PNG")
    assert thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192) is None

    Image.new("RGB", (800, 600)).save(tmp_path / "out" / line["mask"])
    assert thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192) is None

    (tmp_path / "out" / line["mask"]).unlink()
    assert thumbnail(tmp_path / "out", tmp_path / "photos", line, 256, 192) is None


def test_a_small_picture_that_was_made_from_nothing_is_enlarged_by_whole_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    picture = RenderedPicture(pixels, {"seed": 7})
    line = {"image": "seed-0000000007.png", "status": "ok", **picture.to_json()}
    line["picture"]["file"] = write_picture(tmp_path, "seed-0000000007.png", picture)

    shown = thumbnail(tmp_path, None, line, 256, 192)

    assert shown is not None
    np.testing.assert_array_equal(shown, np.kron(pixels, np.ones((6, 6, 1), np.uint8)))
