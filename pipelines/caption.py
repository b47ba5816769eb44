"""A caption for a classified picture: the best labels with their probabilities as bars."""

from __future__ import annotations

import math

import numpy as np

from pipelines.palette import PAPER, Colour, colour_of
from pipelines.results import Labels
from pipelines.text import fit, put_text, text_mask, text_width
from pipelines.types import Image

_GROUND: Colour = (24, 26, 30)
_MUTED: Colour = (196, 200, 208)
_BAND_DARKNESS = 0.30  # brightness left of the picture under the band
_SMALLEST_TEXT = 11
_SMALLEST_BAND = 16  # text heights that a caption needs in width to say anything
_MOST_OF_HEIGHT = 0.40  # of the picture, that the band may cover
_LARGEST_ENLARGED = 128  # pixels to which a tiny picture is enlarged


def with_caption(pixels: Image, labels: Labels) -> Image:
    """Write the labels over a darkened band at the bottom, or beside a picture that is too small for that."""
    height, width = pixels.shape[:2]
    count = len(labels.names)
    if count == 0 or height == 0 or width == 0:
        return pixels.copy()
    size = max(_SMALLEST_TEXT, 2 * round(math.sqrt(height * width) / 76))
    row, pad = _row_height(size), _pad(size)
    rows = min(count, int((height * _MOST_OF_HEIGHT - 2 * pad) // row))
    if rows < 1 or width < _SMALLEST_BAND * size:
        return _beside(pixels, labels)
    picture = np.ascontiguousarray(pixels).copy()
    top = height - rows * row - 2 * pad
    band = picture[top:]
    band[...] = band * np.float32(_BAND_DARKNESS)
    _rows(picture, labels, rows, (top + pad, pad, min(width - pad, pad + 40 * size)), size)
    return picture


def _beside(pixels: Image, labels: Labels) -> Image:
    """Put the picture on a canvas with the caption at its right."""
    size = 14
    row, pad = _row_height(size), _pad(size)
    rows = len(labels.names)
    caption_height = rows * row + 2 * pad
    canvas, width = extended(pixels, caption_height, 18 * size + 2 * pad)
    left = width + pad
    _rows(canvas, labels, rows, ((canvas.shape[0] - rows * row) // 2, left, canvas.shape[1] - pad), size)
    return canvas


def extended(pixels: Image, height: int, width: int) -> tuple[Image, int]:
    """Put a picture on a dark canvas with `width` pixels free at its right, at least `height` high.

    A tiny picture is enlarged by a whole factor. Returns the canvas and where its free part begins.
    """
    picture_height, picture_width = pixels.shape[:2]
    factor = max(1, min(-(-height // picture_height), _LARGEST_ENLARGED // max(picture_height, picture_width)))
    enlarged = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    picture_height, picture_width = enlarged.shape[:2]
    canvas = np.empty((max(picture_height, height), picture_width + width, 3), np.uint8)
    canvas[...] = _GROUND
    top = (canvas.shape[0] - picture_height) // 2
    canvas[top : top + picture_height, :picture_width] = enlarged
    return canvas, picture_width


def _rows(picture: Image, labels: Labels, rows: int, area: tuple[int, int, int], size: int) -> None:
    """Write name, bar and probability a row. area: y of the first row, x of its left and of its right edge."""
    top, left, right = area
    row = _row_height(size)
    percent_width = text_width("100.0%", size)
    gap = size // 2
    name_width = (right - left - percent_width - 2 * gap) * 5 // 9
    names = [fit(name, size, name_width) for name in labels.names[:rows]]
    bar_left = left + name_width + gap
    bar_right = right - percent_width - gap
    bar_height = max(2, size // 2)
    for index, name in enumerate(names):
        y = top + index * row
        score = float(labels.scores[index])
        ink = PAPER if index == 0 else _MUTED
        text_top = y + (row - text_mask("0", size).shape[0]) // 2
        put_text(picture, name, size, text_top, left, ink)
        percent = f"{100 * score:.1f}%"
        put_text(picture, percent, size, text_top, right - text_width(percent, size), ink)
        bar_top = y + (row - bar_height) // 2
        track = picture[bar_top : bar_top + bar_height, bar_left:bar_right]
        track[...] = track + (255 - track) // 5
        filled = round((bar_right - bar_left) * min(max(score, 0.0), 1.0))
        track[:, :filled] = colour_of(int(labels.class_ids[index]))


def _row_height(size: int) -> int:
    return round(size * 1.5)


def _pad(size: int) -> int:
    return max(4, round(size * 0.6))
