"""JPEG (ITU-T T.81): one walk over the marker segments up to the first scan."""

from __future__ import annotations

import re

from pipelines.errors import ImageError
from pipelines.headers.header import Colour, Header
from pipelines.headers.tiff import exif_orientation

_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})  # T.81, table B.1
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# a marker that a length follows, or EOI: all but TEM, RSTn and SOI, which stand alone
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)
_MAX_SEGMENTS = 100_000
_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
_COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb", 4: "cmyk"}
_CUT = "the JPEG ends after {} bytes, inside its header: it was cut off, probably in transfer; copy it again"


def read_jpeg(data: bytes) -> Header:
    """Read size, components, EXIF orientation and the offset of the first scan.

    Raises ImageError: truncated (ends before the first scan), corrupt, unsupported_pixels (more than 8 bits, or a
    number of components other than 1, 3 and 4).
    """
    position, size = 2, len(data)
    frame: tuple[int, int, int, int, bool] | None = None
    orientation, icc = 0, False
    for _ in range(_MAX_SEGMENTS):
        # a few writers leave bytes between segments; libjpeg skips them too
        found = _MARKER.search(data, position)
        if found is None or found.end() + 2 > size:
            raise ImageError("truncated", _CUT.format(size))
        marker, position = data[found.end() - 1], found.end()
        if marker == _EOI:
            raise ImageError("corrupt", "the JPEG holds no picture: its end marker comes before any image data")
        length = data[position] << 8 | data[position + 1]
        body, end = position + 2, position + length
        if length < 2:
            raise ImageError("corrupt", f"the JPEG's header is damaged: a segment claims a length of {length}")
        if end > size:
            raise ImageError("truncated", _CUT.format(size))
        if marker == _SOS:
            if frame is None:
                raise ImageError("corrupt", "the JPEG's header is damaged: image data come before the frame header")
            height, width, bits, channels, progressive = frame
            return Header("JPEG", width, height, bits, channels, _COLOURS[channels], orientation=orientation or 1,
                          progressive=progressive, icc=icc, data_offset=end)  # fmt: skip
        if marker in _SOF and frame is None:
            frame = _read_frame(data[body:end], marker)
        elif marker == _APP1 and not orientation and data.startswith(b"Exif\0", body):
            orientation = exif_orientation(data[body + 6 : end])
        elif marker == _APP2 and data.startswith(b"ICC_PROFILE\0", body):
            icc = True
        position = end
    raise ImageError("corrupt", f"the JPEG's header is damaged: it has more than {_MAX_SEGMENTS:,} segments")


def _read_frame(body: bytes, marker: int) -> tuple[int, int, int, int, bool]:
    if len(body) < 6:
        raise ImageError(
            "corrupt", f"the JPEG's frame header is damaged: {len(body)} bytes long, at least 6 are needed"
        )
    bits, height, width, channels = body[0], body[1] << 8 | body[2], body[3] << 8 | body[4], body[5]
    if bits != 8:
        raise ImageError("unsupported_pixels", f"the JPEG has {bits} bits a channel; only 8 are supported")
    if channels not in _COLOURS:
        raise ImageError("unsupported_pixels", f"the JPEG has {channels} channels; 1, 3 and 4 are supported")
    if not width or not height:
        raise ImageError("corrupt", f"the JPEG says it is {width}×{height} pixels: there is no picture in it")
    return height, width, bits, channels, marker in _PROGRESSIVE
