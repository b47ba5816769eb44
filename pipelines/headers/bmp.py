"""BMP: the bitmap headers of OS/2 (12 bytes) and Windows (40 bytes and more)."""

from __future__ import annotations

import struct

from pipelines.errors import ImageError
from pipelines.headers.header import Header

_DEPTHS = frozenset({1, 2, 4, 8, 16, 24, 32})


def read_bmp(data: bytes) -> Header:
    """Read size and bits a pixel. Raises ImageError: truncated, corrupt, unsupported_pixels."""
    try:
        length = struct.unpack_from("<I", data, 14)[0]
        if length == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        else:
            width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        masks = struct.unpack_from("<I", data, 66)[0] if length >= 56 else 0
    except struct.error as error:
        message = f"the BMP ends after {len(data)} bytes, inside its header; copy it again"
        raise ImageError("truncated", message) from error
    height = abs(height)  # negative: stored from the top row down
    if width <= 0 or height == 0:
        raise ImageError("corrupt", f"the BMP says it is {width}×{height} pixels: there is no picture in it")
    if bits not in _DEPTHS:
        raise ImageError(
            "unsupported_pixels", f"the BMP has {bits} bits a pixel; 1, 2, 4, 8, 16, 24 and 32 are supported"
        )
    if bits <= 8:
        return Header("BMP", width, height, bits, 1, "palette")
    alpha = bits == 32 and masks != 0
    return Header("BMP", width, height, 5 if bits == 16 else 8, 4 if alpha else 3, "rgb", alpha=alpha)
