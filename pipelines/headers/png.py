"""PNG (W3C PNG, third edition): the chunks of a file, what they say, and whether they are whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pipelines.errors import ImageError
from pipelines.headers.header import Colour, Header
from pipelines.headers.tiff import exif_orientation

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type → channels
_COLOURS: dict[int, Colour] = {0: "grey", 2: "rgb", 3: "palette", 4: "grey", 6: "rgb"}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PIECE = 1 << 16  # bytes inflated at once: what is left over is copied each time
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give (type, start, end) of every chunk's body up to IEND; raises ImageError truncated if IEND isn't reached."""
    position, size = 8, len(data)
    while position + 12 <= size:
        length = int.from_bytes(data[position : position + 4], "big")
        kind, start = data[position + 4 : position + 8], position + 8
        if start + length + 4 > size:
            break
        yield kind, start, start + length
        if kind == b"IEND":
            return
        position = start + length + 4
    raise ImageError(
        "truncated", f"the PNG ends after {size} bytes without its end chunk: it was cut off; copy it again"
    )


def read_png(data: bytes) -> Header:
    """Read the header and, of all other chunks, whether they are there.

    Raises ImageError: truncated (no end chunk), corrupt.
    """
    if len(data) < 33:
        raise ImageError("truncated", f"the PNG ends after {len(data)} bytes, inside its header; copy it again")
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        raise ImageError("corrupt", "the PNG's header is damaged: it doesn't start with an IHDR chunk")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour, interlace = data[24], data[25], data[28]
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise ImageError("corrupt", f"the PNG says it is {width}×{height} pixels: there is no picture in it")
    if depth not in _DEPTHS.get(colour, ()) or interlace > 1:
        what = f"colour type {colour} with {depth} bits, interlace method {interlace}"
        raise ImageError("corrupt", f"the PNG's header is damaged: it states {what}")
    frames, orientation, alpha, icc = 1, 1, colour in (4, 6), False
    for kind, start, end in _chunks(data):
        if kind == b"acTL" and end - start == 8:
            frames = max(1, int.from_bytes(data[start : start + 4], "big"))
        elif kind == b"eXIf":
            orientation = exif_orientation(data[start:end])
        elif kind == b"tRNS":
            alpha = True
        elif kind == b"iCCP":
            icc = True
    return Header("PNG", width, height, depth, _CHANNELS[colour], _COLOURS[colour], alpha=alpha,
                  orientation=orientation, frames=frames, progressive=interlace == 1, icc=icc)  # fmt: skip


def check_png_sums(data: bytes) -> None:
    """Check the checksum of every chunk that holds pixels or says how to read them; raises ImageError corrupt."""
    for kind, start, end in _chunks(data):
        # capital first letter: critical (IHDR, PLTE, IDAT, IEND)
        if kind[:1].isupper() and zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            name = kind.decode("ascii", "replace")
            raise ImageError(
                "corrupt", f"the PNG is damaged: the checksum of its {name} chunk at byte {start} is wrong"
            )


def check_png_rows(data: bytes, header: Header) -> None:
    """Check that the pixel data hold every row: Pillow leaves the rows that are missing black, without a word.

    Raises ImageError: truncated (fewer bytes than the header's size needs), corrupt (can't be inflated).
    """
    wanted, got = _raw_bytes(header), 0
    inflate = zlib.decompressobj()
    try:
        for kind, start, end in _chunks(data):
            if kind != b"IDAT":
                continue
            for at in range(start, end, _PIECE):
                rest = data[at : min(end, at + _PIECE)]
                while rest and got < wanted:
                    got += len(inflate.decompress(rest, 1 << 20))
                    rest = inflate.unconsumed_tail
        if got < wanted:
            got += len(inflate.flush(1 << 16))
    except zlib.error as error:
        raise ImageError("corrupt", f"the PNG's pixel data are damaged ({error})") from error
    if got < wanted:
        raise ImageError("truncated", f"the PNG holds {got} bytes of pixels, its size needs {wanted}: part is missing")


def _raw_bytes(header: Header) -> int:
    bits = header.bit_depth * header.channels
    if not header.progressive:
        return header.height * (1 + (header.width * bits + 7) // 8)
    total = 0
    for x, y, step_x, step_y in _ADAM7:
        columns, rows = -(-(header.width - x) // step_x), -(-(header.height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
