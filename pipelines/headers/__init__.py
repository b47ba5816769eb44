"""Headers, one file a format: what a picture is, read from its first bytes in microseconds and without decoding."""

from __future__ import annotations

from pipelines.errors import ImageError
from pipelines.headers.bmp import read_bmp
from pipelines.headers.foreign import foreign
from pipelines.headers.gif import read_gif
from pipelines.headers.header import Header
from pipelines.headers.jpeg import read_jpeg
from pipelines.headers.png import read_png
from pipelines.headers.riff import read_webp
from pipelines.headers.tiff import read_tiff

__all__ = ["Header", "probe"]

READABLE = "JPEG, PNG, WebP, BMP, TIFF and GIF"


def probe(data: bytes) -> Header:
    """Read what the file says about its picture, as stored; decodes nothing.

    data: the whole file.
    Raises ImageError: empty_file, not_an_image, truncated, corrupt, unsupported_pixels.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return read_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return read_webp(data)
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return read_tiff(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return read_gif(data)
    if data.startswith(b"BM") and data[15:18] == b"\0\0\0":  # the header's length: two letters alone may be text
        return read_bmp(data)
    if not data:
        raise ImageError("empty_file", "the file is empty (0 bytes)")
    raise ImageError("not_an_image", f"this file is {foreign(data)}; {READABLE} can be read")
