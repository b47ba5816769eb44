"""Text on arrays: Pillow's built-in font, each string rendered once into a small mask and then only copied."""

from __future__ import annotations

import threading
import unicodedata
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from pipelines.palette import Colour
from pipelines.types import Image

Coverage: TypeAlias = NDArray[np.uint8]  # (H, W), 0 = nothing, 255 = ink

ELLIPSIS = "…"
# Letters that Unicode does not take apart.
_KIN = {"×": "x", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "đ": "d", "–": "-", "—": "-"}
# FreeType faces are not made for two threads at once; rendering is rare, so one lock is enough.
_rendering = threading.Lock()


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow was built without FreeType, so it can't scale text; install the pillow wheel")
    return font


@lru_cache(maxsize=4096)
def writable(text: str) -> str:
    """Give the text in letters the font has: é becomes e, × becomes x; what has no such kin stays, shown as a box."""
    return text if text.isascii() else "".join(_writable_letter(letter) for letter in text)


@lru_cache(maxsize=4096)
def _writable_letter(letter: str) -> str:
    if letter.isascii() or _has_glyph(letter):
        return letter
    kin = _KIN.get(letter) or "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
    return kin if kin and all(c.isascii() or _has_glyph(c) for c in kin) else letter


def _has_glyph(letter: str) -> bool:
    with _rendering:
        font = _font(16)
        # the box that stands for whatever the font lacks
        return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


@lru_cache(maxsize=4096)
def text_width(text: str, size: int) -> int:
    """Width of one line of text in pixels, `size` being the font's height in pixels."""
    text = writable(text)
    with _rendering:
        return int(np.ceil(_font(size).getlength(text)))


@lru_cache(maxsize=2048)
def text_mask(text: str, size: int) -> Coverage:
    """Render one line of text.

    Returns (H, W) uint8 coverage, read-only; H depends on `size` only, so that lines of one size share a baseline.
    """
    width = max(1, text_width(text, size))
    text = writable(text)
    with _rendering:
        font = _font(size)
        ascent, descent = font.getmetrics()
        canvas = PilImage.new("L", (width, ascent + descent), 0)
        ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    mask = np.array(canvas, np.uint8)
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=4096)
def fit(text: str, size: int, width: int) -> str:
    """Shorten `text` with an ellipsis until it is at most `width` pixels wide; "" if not even one letter fits."""
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + ELLIPSIS, size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS if low else ""


def put_text(picture: Image, text: str, size: int, y: int, x: int, colour: Colour) -> None:
    """Write one line over whatever the picture shows, in place.

    (y, x) is the top left corner of the line, in pixels; what lies beyond the picture's edges is cut.
    """
    mask, ground = _meet(picture, text_mask(text, size), y, x)
    part = mask[..., None].astype(np.int32)
    ground[...] = ground + ((np.array(colour, np.int32) - ground) * part + 127) // 255


def put_text_on(picture: Image, text: str, size: int, y: int, x: int, colour: Colour, ground: Colour) -> None:
    """Write one line as `put_text` does, onto a ground that is one colour: several times faster."""
    mask, area = _meet(picture, text_mask(text, size), y, x)
    area[...] = _ramp(ground, colour)[mask]


@lru_cache(maxsize=1024)
def _ramp(ground: Colour, ink: Colour) -> NDArray[np.uint8]:
    """The colours between ground and ink by coverage: (256, 3) uint8."""
    share = np.arange(256)[:, None] / 255
    return np.round(np.array(ground) * (1 - share) + np.array(ink) * share).astype(np.uint8)


def _meet(picture: Image, mask: Coverage, y: int, x: int) -> tuple[Coverage, Image]:
    """Cut a mask placed at (y, x) and the picture to where they overlap (nothing, if they don't)."""
    height, width = picture.shape[:2]
    top, left = max(0, y), max(0, x)
    bottom, right = max(top, min(height, y + mask.shape[0])), max(left, min(width, x + mask.shape[1]))
    return mask[top - y : bottom - y, left - x : right - x], picture[top:bottom, left:right]
