"""What a file says about its picture before a single pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]
Colour: TypeAlias = Literal["grey", "rgb", "palette", "cmyk", "lab"]
Number: TypeAlias = Literal["unsigned", "signed", "float"]


@dataclass(frozen=True, slots=True)
class Header:
    """The facts in a file's header, as stored: orientation is told, not applied.

    width, height: pixels as stored, both at least 1.
    bit_depth: bits a channel (of the index, for a palette).
    channels: channels stored a pixel, alpha included.
    alpha: whether a pixel can be transparent: an alpha channel, or a transparent colour or palette entry.
    number: how a channel's bits are to be read; only TIFF has other than unsigned.
    orientation: EXIF orientation, 1 (upright) to 8.
    frames: pictures in the file, only the first of which is read.
    progressive: progressive JPEG or interlaced PNG.
    icc: whether a colour profile is embedded.
    white_is_zero: grey that counts from white (TIFF).
    premultiplied: colour already multiplied by alpha (TIFF).
    data_offset: JPEG: where the first scan starts, all else: 0.
    orientation_at: TIFF: byte offset of the orientation's value, 0 if it has none.
    """

    format: Format
    width: int
    height: int
    bit_depth: int
    channels: int
    colour: Colour
    alpha: bool = False
    number: Number = "unsigned"
    orientation: int = 1
    frames: int = 1
    progressive: bool = False
    icc: bool = False
    white_is_zero: bool = False
    premultiplied: bool = False
    data_offset: int = 0
    orientation_at: int = 0

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def layout(self) -> str:
        """The channels in words, e.g. "grey", "rgb + alpha"."""
        return f"{self.colour} + alpha" if self.alpha else self.colour
