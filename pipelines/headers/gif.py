"""GIF (87a, 89a): the logical screen, and how many pictures follow."""

from __future__ import annotations

from pipelines.errors import ImageError
from pipelines.headers.header import Header

_PICTURE, _EXTENSION, _GRAPHIC_CONTROL = 0x2C, 0x21, 0xF9


def read_gif(data: bytes) -> Header:
    """Read size, transparency and the number of pictures. Raises ImageError: truncated, corrupt."""
    if len(data) < 13:
        raise ImageError("truncated", f"the GIF ends after {len(data)} bytes, inside its header; copy it again")
    width, height, flags = data[6] | data[7] << 8, data[8] | data[9] << 8, data[10]
    if not width or not height:
        raise ImageError("corrupt", f"the GIF says it is {width}×{height} pixels: there is no picture in it")
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames, alpha = 0, False
    try:
        while data[position] in (_PICTURE, _EXTENSION):
            if data[position] == _PICTURE:
                frames += 1
                local = data[position + 9]
                position += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
            else:
                if data[position + 1] == _GRAPHIC_CONTROL and not frames:
                    alpha = bool(data[position + 3] & 1)
                position += 2
            while data[position]:  # sub-blocks: a length, then as many bytes; a length of 0 ends them
                position += 1 + data[position]
            position += 1
    except IndexError:
        pass  # a later picture is cut off: whether the first one is whole shows when it is decoded
    if not frames:
        raise ImageError("truncated", f"the GIF ends after {len(data)} bytes, before its first picture; copy it again")
    return Header("GIF", width, height, 8, 1, "palette", alpha=alpha, frames=frames)
