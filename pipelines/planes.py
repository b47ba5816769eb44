"""A picture and its red, green and blue planes side by side: what a network's three input channels hold."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.palette import INK, PAPER, Colour
from pipelines.text import fit, put_text
from pipelines.types import Image

_PLANES: tuple[tuple[str, Colour], ...] = (
    ("R (red)", (214, 60, 52)),
    ("G (green)", (46, 139, 74)),
    ("B (blue)", (52, 102, 204)),
)
_MARGIN, _SWATCH, _TEXT = 16, 6, 18  # pixels
_HEAD = _SWATCH + 6 + _TEXT + 12


def planes(pixels: Image, title: str = "picture", side: int = 560) -> Image:
    """Draw the picture and its three planes, each labelled with its mean.

    pixels: (H, W, 3) uint8 RGB.
    title: what the picture itself is labelled with.
    side: the longest side of each of the four, in pixels; smaller pictures are enlarged without smoothing.
    Returns (H', W', 3) uint8 RGB: a plane is shown in grey, 0 black and 255 white. Tall pictures stand in one row,
    others two by two.
    """
    shown = _resized(pixels, side)
    height, width = shown.shape[:2]
    wide = max(width, 160)  # room for a label over a very narrow picture
    columns = 4 if height > 1.3 * width else 2
    rows = 4 // columns
    sheet = np.full(
        (rows * (height + _HEAD) + (rows + 1) * _MARGIN, columns * wide + (columns + 1) * _MARGIN, 3), PAPER, np.uint8
    )
    cells = [(title, INK, shown)]
    for channel, (name, colour) in enumerate(_PLANES):
        label = f"{name}: mean {pixels[..., channel].mean():.1f} of 255"
        cells.append((label, colour, np.repeat(shown[..., channel : channel + 1], 3, axis=2)))
    for index, (label, colour, content) in enumerate(cells):
        y = _MARGIN + index // columns * (height + _HEAD + _MARGIN)
        x = _MARGIN + index % columns * (wide + _MARGIN)
        sheet[y : y + _SWATCH, x : x + wide] = colour
        put_text(sheet, fit(label, _TEXT, wide), _TEXT, y + _SWATCH + 6, x, INK)
        sheet[y + _HEAD : y + _HEAD + height, x : x + width] = content
    return sheet


def _resized(pixels: Image, side: int) -> Image:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    # enlarged: every pixel shows as the square it is; made smaller: the mean of what is under a pixel
    way = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    return cv2.resize(pixels, target, interpolation=way)  # type: ignore[return-value]
