"""The planes picture shows each channel as it is."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.planes import planes


def grey_values(sheet: np.ndarray) -> set[int]:
    """The values of the sheet's grey pixels that fill more area than text or margins' edges do."""
    flat = sheet[(sheet == sheet[..., :1]).all(axis=2)][:, 0]
    values, counts = np.unique(flat, return_counts=True)
    return set(values[counts > 5_000].tolist())


def test_each_plane_is_its_channel_in_grey() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[...] = (30, 90, 180)

    sheet = planes(pixels, side=200)

    assert grey_values(sheet) == {30, 90, 180, 255}
    assert ((sheet == (30, 90, 180)).all(axis=2)).sum() == 200 * 200


@pytest.mark.parametrize(("shape", "wide"), [((300, 100), True), ((100, 300), False), ((100, 100), False)])
def test_tall_pictures_stand_in_a_row_and_others_two_by_two(shape: tuple[int, int], wide: bool) -> None:
    sheet = planes(np.full((*shape, 3), 9, np.uint8), side=300)
    cells_in_a_row = (sheet[-100] == 9).all(axis=1).astype(int)
    assert (np.diff(cells_in_a_row) == 1).sum() == (4 if wide else 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_any_shape_can_be_drawn(shape: tuple[int, int]) -> None:
    sheet = planes(np.full((*shape, 3), 9, np.uint8), "a very long file name that can't fit over a narrow picture")
    assert sheet.dtype == np.uint8
    assert max(sheet.shape) < 4000
