"""TIFF 6.0 and BigTIFF directories; EXIF is one too (and so carries the orientation in every format)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.errors import ImageError
from pipelines.headers.header import Colour, Header, Number

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 273, 274, 277
_STRIP_BYTES, _TILES, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT, _JPEG_TABLES, _ICC = 279, 324, 325, 338, 339, 347, 34675
_KNOWN = frozenset({_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _TILES,
                    _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT, _JPEG_TABLES})  # fmt: skip
# field type → struct
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_COLOURS: dict[int, Colour] = {0: "grey", 1: "grey", 2: "rgb", 3: "palette", 5: "cmyk", 6: "rgb", 8: "lab", 9: "lab"}
_COLOUR_CHANNELS: dict[Colour, int] = {"grey": 1, "rgb": 3, "palette": 1, "cmyk": 4, "lab": 3}
_NUMBERS: dict[int, Number] = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "signed", 6: "float"}
_BEYOND = (struct.error, OverflowError)  # an offset beyond the end; one beyond what an offset can be (BigTIFF)
_MAX_FRAMES = 10_000  # a chain of directories longer than this is damage, not a document


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one of the two dialects writes a directory: its byte order and the widths of its numbers."""

    order: str
    count: str  # of entries in a directory
    offset: str  # of anything
    first: int  # where the offset of the first directory stands


def _shape(data: bytes) -> _Shape | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    magic = struct.unpack_from(order + "H", data, 2)[0]
    if magic == 42:
        return _Shape(order, order + "H", order + "I", 4)
    if magic == 43 and len(data) >= 16:
        return _Shape(order, order + "Q", order + "Q", 8)
    return None


def _entries(data: bytes, at: int, shape: _Shape) -> Iterator[tuple[int, int, int, int]]:
    """Give (tag, field type, count, offset of the value's first byte) of each entry of the directory at `at`."""
    count = struct.unpack_from(shape.count, data, at)[0]
    start, wide = at + struct.calcsize(shape.count), struct.calcsize(shape.offset)
    for entry in range(start, start + count * (4 + 2 * wide), 4 + 2 * wide):
        tag, kind, values = struct.unpack_from(shape.order + "HH" + shape.offset[1], data, entry)
        value_at = entry + 4 + wide
        if kind in _TYPES and values * struct.calcsize(_TYPES[kind]) > wide:
            value_at = struct.unpack_from(shape.offset, data, value_at)[0]
        yield tag, kind, values, value_at


def exif_orientation(exif: bytes) -> int:
    """Read the orientation from EXIF data (a TIFF structure without picture); 1 if it says nothing usable."""
    shape = _shape(exif)
    if shape is None:
        return 1
    try:
        for tag, kind, count, at in _entries(exif, struct.unpack_from(shape.offset, exif, shape.first)[0], shape):
            if tag == _ORIENTATION and kind in _TYPES and count:
                value = struct.unpack_from(shape.order + _TYPES[kind], exif, at)[0]
                return value if 1 <= value <= 8 else 1
    except _BEYOND:  # damaged EXIF: the picture itself may be sound, so it counts as silent
        return 1
    return 1


def read_tiff(data: bytes) -> Header:
    """Read the first directory, and count the others.

    Raises ImageError: truncated (a directory or the first picture's data lie beyond the end), corrupt,
    unsupported_pixels (float or signed samples, unknown photometric interpretation, mixed bit depths).
    """
    shape = _shape(data)
    if shape is None:
        raise ImageError("truncated", f"the TIFF ends after {len(data)} bytes, inside its header; copy it again")
    try:
        first = struct.unpack_from(shape.offset, data, shape.first)[0]
        tags, orientation_at, icc = _read_tags(data, first, shape)
        frames = _count_directories(data, first, shape)
    except _BEYOND as error:
        raise ImageError("truncated", f"the TIFF ends after {len(data)} bytes, before its directory or inside it: "
                         "it was cut off; copy it again") from error  # fmt: skip
    _check_data_is_there(data, tags)
    return _to_header(tags, orientation_at, icc, frames)


def _read_tags(data: bytes, at: int, shape: _Shape) -> tuple[dict[int, tuple[int, ...]], int, bool]:
    tags: dict[int, tuple[int, ...]] = {}
    orientation_at, icc = 0, False
    for tag, kind, count, value_at in _entries(data, at, shape):
        icc = icc or tag == _ICC
        if tag not in _KNOWN or kind not in _TYPES or tag in tags:  # the first counts: damage could repeat one for ever
            continue
        if count * struct.calcsize(_TYPES[kind]) > len(data):
            raise struct.error
        tags[tag] = struct.unpack_from(f"{shape.order}{count}{_TYPES[kind]}", data, value_at)
        if tag == _ORIENTATION and count:
            little = shape.order == "<"
            orientation_at = value_at if little else value_at + struct.calcsize(_TYPES[kind]) - 1
    return tags, orientation_at, icc


def _count_directories(data: bytes, first: int, shape: _Shape) -> int:
    seen: set[int] = set()
    at, wide = first, struct.calcsize(shape.offset)
    while at and at not in seen and len(seen) < _MAX_FRAMES:
        try:
            count = struct.unpack_from(shape.count, data, at)[0]
            following = struct.unpack_from(
                shape.offset, data, at + struct.calcsize(shape.count) + count * (4 + 2 * wide)
            )[0]
        except _BEYOND:
            break  # a later page is cut off: the first one, which alone is read, may be whole
        seen.add(at)
        at = following
    return max(1, len(seen))


def _check_data_is_there(data: bytes, tags: dict[int, tuple[int, ...]]) -> None:
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        pairs = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        end = max((at + size for at, size in pairs), default=0)
        if end > len(data):
            raise ImageError("truncated", f"the TIFF ends after {len(data)} bytes, its picture needs {end}: "
                             "it was cut off; copy it again")  # fmt: skip


def _to_header(tags: dict[int, tuple[int, ...]], orientation_at: int, icc: bool, frames: int) -> Header:
    def one(tag: int, default: int) -> int:
        return tags[tag][0] if tags.get(tag) else default

    width, height, photometric = one(_WIDTH, 0), one(_HEIGHT, 0), one(_PHOTOMETRIC, 1)
    if width <= 0 or height <= 0:
        raise ImageError("corrupt", f"the TIFF says it is {width}×{height} pixels: there is no picture in it")
    bits, samples = tags.get(_BITS) or (1,), one(_SAMPLES, 1)
    number = _NUMBERS.get(one(_SAMPLE_FORMAT, 1))
    colour = _COLOURS.get(photometric)
    if number != "unsigned" or bits[0] > 16:
        kind = f"{bits[0]}-bit {number or 'unknown'}"
        raise ImageError("unsupported_pixels", f"the TIFF holds {kind} numbers whose range nobody states; "
                         "convert it to 8 or 16 bits (unsigned) first")  # fmt: skip
    if colour is None or len(set(bits)) != 1:
        what = (
            f"photometric interpretation {photometric}"
            if colour is None
            else f"mixed bit depths {sorted(set(bits))[:4]}"
        )
        raise ImageError("unsupported_pixels", f"the TIFF has {what}, which is not supported; convert it to RGB first")
    extra = tags.get(_EXTRA)
    spare = samples > _COLOUR_CHANNELS[colour]
    alpha = spare and (extra is None or extra[:1] in ((1,), (2,)))
    orientation = one(_ORIENTATION, 1)
    return Header(
        "TIFF", width, height, bits[0], samples, colour, alpha=alpha, number=number,
        orientation=orientation if 1 <= orientation <= 8 else 1, frames=frames, icc=icc,
        white_is_zero=photometric == 0, premultiplied=alpha and extra is not None and extra[0] == 1,
        orientation_at=orientation_at,
    )  # fmt: skip
