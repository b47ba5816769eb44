"""WebP (RFC 9649): a RIFF file whose chunks hold one or more VP8 or VP8L frames."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.errors import ImageError
from pipelines.headers.header import Header
from pipelines.headers.tiff import exif_orientation

_DAMAGED = "the WebP's header is damaged: no frame is found in it"


def _chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    position = 12
    while position + 8 <= end:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        start = position + 8
        yield data[position : position + 4], start, min(end, start + length)
        position = start + length + (length & 1)


def read_webp(data: bytes) -> Header:
    """Read size, alpha, EXIF orientation and the number of frames.

    Raises ImageError: truncated (the file is shorter than it says), corrupt.
    """
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data):
        raise ImageError(
            "truncated", f"the WebP ends after {len(data)} of its {end} bytes: it was cut off; copy it again"
        )
    size: tuple[int, int] | None = None
    alpha, frames, orientation, icc, extended = False, 0, 1, False, False
    for kind, start, stop in _chunks(data, end):
        body = data[start : min(stop, start + 10)]
        if kind == b"VP8X" and len(body) == 10 and size is None:
            extended, alpha = True, bool(body[0] & 0x10)
            size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"VP8 " and len(body) == 10 and size is None:
            size = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
        elif kind == b"VP8L" and len(body) >= 5 and size is None:
            packed = int.from_bytes(body[1:5], "little")
            size, alpha = ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1), bool(packed >> 28 & 1)
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF" and extended:
            exif = data[start:stop]
            orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))  # some writers keep JPEG's prefix
        elif kind == b"ICCP":
            icc = True
    if size is None or not size[0] or not size[1]:
        raise ImageError("corrupt", _DAMAGED)
    return Header("WebP", *size, 8, 4 if alpha else 3, "rgb", alpha=alpha, orientation=orientation,
                  frames=max(1, frames), icc=icc)  # fmt: skip
