"""A mask written as COCO's run lengths and read back, with pycocotools as the judge."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.masks import PlacedMask

coco = pytest.importorskip("pycocotools.mask")

# pycocotools decodes in a way NumPy 2 calls old
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
WHOLE = arrays.arrays(np.bool_, SIZES)


@st.composite
def patches(draw: st.DrawFn) -> np.ndarray:
    """A picture with one block of random pixels in it, so that most columns are empty."""
    height, width = draw(st.tuples(st.integers(1, 300), st.integers(1, 300)))
    whole = np.zeros((height, width), bool)
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    shape = draw(st.tuples(st.integers(1, min(20, height - y)), st.integers(1, min(20, width - x))))
    whole[y : y + shape[0], x : x + shape[1]] = draw(arrays.arrays(np.bool_, shape))
    return whole


def of_pycocotools(whole: np.ndarray) -> dict[str, Any]:
    encoded: dict[str, Any] = coco.encode(np.asfortranarray(whole.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


@given(WHOLE | patches())
def test_run_lengths_are_those_of_pycocotools_to_the_letter(whole: np.ndarray) -> None:
    assert PlacedMask.cut(whole).to_rle(whole.shape) == of_pycocotools(whole)


@given(WHOLE | patches())
def test_pycocotools_decodes_what_is_written(whole: np.ndarray) -> None:
    assert np.array_equal(coco.decode(PlacedMask.cut(whole).to_rle(whole.shape)).astype(bool), whole)


@given(WHOLE | patches())
def test_what_pycocotools_encoded_is_read(whole: np.ndarray) -> None:
    read = PlacedMask.from_rle(of_pycocotools(whole))

    assert np.array_equal(read.whole(whole.shape), whole)
    assert read.area == coco.area(of_pycocotools(whole))
    # cut down to what it covers
    assert read.pixels.shape == PlacedMask.cut(whole).pixels.shape


@given(WHOLE)
def test_uncompressed_counts_are_read_too(whole: np.ndarray) -> None:
    column_order = np.concatenate([[False], whole.T.ravel(), [False]])
    edges = np.flatnonzero(np.diff(column_order.astype(np.int8)))
    counts = np.diff(np.concatenate([[0], edges, [whole.size]])).tolist()

    assert np.array_equal(PlacedMask.from_rle({"size": whole.shape, "counts": counts}).whole(whole.shape), whole)


def test_a_mask_placed_with_empty_rows_around_it_says_the_same() -> None:
    whole = np.zeros((30, 50), bool)
    whole[10:20, 20:25] = True

    loose = PlacedMask(5, 2, whole[2:, 5:])

    assert loose.to_rle((30, 50)) == of_pycocotools(whole)


def test_no_pixel_at_all_is_a_mask_too() -> None:
    nothing = np.zeros((7, 9), bool)

    assert PlacedMask.cut(nothing).to_rle((7, 9)) == of_pycocotools(nothing)
    assert PlacedMask.from_rle(of_pycocotools(nothing)).area == 0


@pytest.mark.parametrize("counts", [[5, 3], [-1, 43], [0, 43]])
def test_runs_that_do_not_fill_the_picture_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="a mask of 6×7 has 42"):
        PlacedMask.from_rle({"size": [6, 7], "counts": counts})


def test_a_mask_beyond_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="reaches beyond"):
        PlacedMask(5, 0, np.ones((2, 2), bool)).to_rle((2, 6))


def test_a_small_object_of_a_large_photograph_takes_little_memory() -> None:
    rle = PlacedMask(3000, 2000, np.ones((20, 30), bool)).to_rle((4000, 6000))

    tracemalloc.start()
    mask = PlacedMask.from_rle(rle)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (mask.x, mask.y, mask.area) == (3000, 2000, 600)
    assert peak < 2**20  # the whole photograph has 24 MB
