"""Arithmetic that brings decoded pixels to 8-bit RGB: depth, transparency, turning."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.types import Image

# round(v / 257) for every 16-bit value: 65535 becomes 255 and 0 stays 0, with no bias (PNG spec, 12.5)
_TO_8_BITS: NDArray[np.uint8] = ((np.arange(65536) + 128) // 257).astype(np.uint8)


def to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale uint16 to uint8 as v / 257, rounded; uint8 passes as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    eight: NDArray[np.uint8] = _TO_8_BITS[pixels]
    return eight


def over_white(pixels: NDArray[np.uint8], premultiplied: bool = False) -> Image:
    """Lay (H, W, 4) RGBA over white: round((c·a + 255·(255 − a)) / 255).

    premultiplied: the colour is already multiplied by alpha.
    Returns (H, W, 3) uint8.
    """
    alpha = pixels[..., 3:]
    if alpha.min(initial=255) == 255:
        return pixels[..., :3].copy()
    white = 255 - alpha
    if premultiplied:
        return cv2.add(pixels[..., :3], np.repeat(white, 3, axis=2))  # type: ignore[return-value]  # saturates
    laid = pixels[..., :3].astype(np.uint16)
    laid *= alpha
    laid += white.astype(np.uint16) * 255  # c·a + 255·(255 − a) is at most 65025: no overflow
    laid += 127
    laid //= 255
    return laid.astype(np.uint8)


def turn(pixels: Image, orientation: int) -> Image:
    """Make the picture upright.

    orientation: 1 to 8, what the camera noted (CIPA DC-008 EXIF 2.32, 4.6.4 A): the side of the scene that row 0
    and column 0 show.
    """
    if orientation == 1:
        return pixels
    if orientation == 2:
        turned = cv2.flip(pixels, 1)
    elif orientation == 3:
        turned = cv2.rotate(pixels, cv2.ROTATE_180)
    elif orientation == 4:
        turned = cv2.flip(pixels, 0)
    elif orientation == 5:
        turned = cv2.transpose(pixels)
    elif orientation == 6:
        turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
    elif orientation == 7:
        turned = cv2.flip(cv2.transpose(pixels), -1)
    else:
        turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return turned  # type: ignore[return-value]
