"""Large pictures repainted in tiles: where the tiles lie, that no seam shows, what does not fit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines
from pipelines.catalog import SHIPPED
from pipelines.errors import ParameterError
from pipelines.image import Limits
from pipelines.pipeline import Pipeline, build
from pipelines.repaint import MARGIN, Piece, patches, pieces
from pipelines.results import RenderedPicture
from pipelines.types import Image
from tests.pipelines.test_golden import STYLE, photograph

WAVE = SHIPPED / "style-wave.onnx"


def enlarged(name: str, size: tuple[int, int]) -> Image:
    """Part of a photograph of the golden pictures, repeated in mirror images so that it is large and has no edges."""
    pixels = photograph(name)
    missing = [max(0, wanted - own) for wanted, own in zip(size, pixels.shape, strict=False)]
    large = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(large[: size[0], : size[1]])


def painted(stylize: Pipeline, pixels: Image) -> np.ndarray:
    result = stylize(pixels)
    assert result.error is None
    assert isinstance(result.found, RenderedPicture)
    return result.found.pixels.astype(int)


@given(length=st.integers(1, 20_000), tile=st.integers(256, 2048), stride=st.sampled_from([4, 8, 16, 32]))
def test_pieces_cover_an_axis_once_and_see_their_margin(length: int, tile: int, stride: int) -> None:
    cut = pieces(length, tile, stride)

    assert [cut[0].first, cut[-1].last] == [0, length]
    assert all(one.last == other.first for one, other in pairwise(cut))
    assert all(piece.first < piece.last for piece in cut)
    assert all(piece.stop - piece.start <= tile for piece in cut)
    assert all(piece.start % stride == 0 for piece in cut) or MARGIN % stride
    assert all(piece.start == max(0, piece.first - MARGIN) for piece in cut)
    assert all(piece.stop == min(length, piece.last + MARGIN) for piece in cut)


def test_a_picture_as_large_as_a_tile_is_one_piece() -> None:
    assert pieces(1024, 1024, 8) == [Piece(0, 1024, 0, 1024)]


@given(size=st.tuples(st.integers(1, 900), st.integers(1, 900)))
def test_patches_are_pixels_of_the_picture_and_no_larger_than_a_tile(size: tuple[int, int]) -> None:
    numbered = np.arange(size[0] * size[1]).reshape(size)
    pixels = np.stack([numbered >> 16, numbered >> 8 & 255, numbered & 255], 2).astype(np.uint8)

    seen = patches(pixels, 512)

    assert seen.shape[0] == min(size[0], 512)
    assert seen.shape[1] == min(size[1], 512)
    assert (seen[0, 0] == pixels[0, 0]).all()
    assert (seen[-1, -1] == pixels[-1, -1]).all()


def test_tiles_paint_what_one_run_with_the_same_normalisation_paints() -> None:
    # as many patches as the picture has place for: normalisation is then measured on the picture itself
    pixels = enlarged("astronaut", (384, 512))
    once = build(WAVE, {"tile": 0}, provider="cpu")
    tiled = build(WAVE, {"tile": 512}, provider="cpu")
    in_tiles = build(WAVE, {"tile": 256}, provider="cpu")

    whole = painted(once, pixels)

    np.testing.assert_array_equal(painted(tiled, pixels), whole)  # no larger than a tile
    assert np.abs(painted(in_tiles, pixels) - whole).mean() < 12  # measured on a quarter of it only


@pytest.mark.parametrize("model", ["style-wave", "style-scream", "style-shipwreck", "style-udnie"])
def test_no_seam_shows(model: str) -> None:
    pixels = enlarged("coffee", (300, 700))
    whole = painted(build(SHIPPED / f"{model}.onnx", {"tile": 0}, provider="cpu"), pixels)

    difference = painted(build(SHIPPED / f"{model}.onnx", {"tile": 384}, provider="cpu"), pixels) - whole

    seams = [piece.first for piece in pieces(700, 384, 8)][1:]
    # what tiles change against one run changes as smoothly across a seam as beside it
    steps = np.abs(np.diff(difference, axis=1))
    across = np.array([steps[:, seam - 1].mean() for seam in seams])
    beside = np.array([steps[:, seam - 9 : seam + 8].mean() for seam in seams])
    assert seams
    assert (across <= beside + 0.5).all()
    assert max(steps[:, seam - 1].max() for seam in seams) <= max(24, steps.max())


def test_a_network_that_cannot_keep_its_normalisation_paints_the_picture_as_a_whole() -> None:
    pixels = enlarged("chelsea", (300, 400))

    whole = painted(build(STYLE, {"tile": 0}, provider="cpu"), pixels)

    np.testing.assert_array_equal(painted(build(STYLE, {"tile": 256}, provider="cpu"), pixels), whole)


def test_a_large_picture_needs_the_memory_of_a_tile_only() -> None:
    pixels = enlarged("chelsea", (300, 900))
    limits = Limits(max_memory=100 << 20)

    refused = build(WAVE, {"tile": 0}, provider="cpu", limits=limits)(pixels)
    in_tiles = build(WAVE, {"tile": 256}, provider="cpu", limits=limits)(pixels)

    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert "tile" in refused.error.message
    assert in_tiles.error is None


def test_tiles_that_need_too_much_memory_are_refused_with_their_size() -> None:
    result = build(WAVE, {"tile": 512}, provider="cpu", limits=Limits(max_memory=100 << 20))(
        np.zeros((600, 600, 3), "u1")
    )

    assert result.error is not None
    assert result.error.code == "out_of_memory"
    assert "512" in result.error.message
    assert "smaller tiles" in result.error.message


@pytest.mark.parametrize("tile", [1, 255, 20_000])
def test_a_tile_narrower_than_its_margins_is_refused(tile: int) -> None:
    with pytest.raises(ParameterError, match="tile"):
        build(WAVE, {"tile": tile}, provider="cpu")


def test_an_unknown_style_gives_the_nearest_names() -> None:
    with pytest.raises(ParameterError, match="style-wave"):
        pipelines.load("style-wav", provider="cpu")


def test_the_default_model_of_stylize_is_a_style_that_ships() -> None:
    default = pipelines.catalog.PIPELINES["stylize"].default_model

    assert default is not None
    assert Path(SHIPPED / f"{default}.onnx").is_file()
