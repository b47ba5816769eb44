"""Images of every kind, made at test time: by Pillow, or byte by byte where Pillow can't."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def scene(height: int = 45, width: int = 62) -> np.ndarray:
    """A smooth picture whose corners and channels all differ: a turn or a swapped channel shows."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 128 + 127 * np.sin(5 * x + 3 * y)], axis=-1).round().astype(np.uint8)


def saved(picture: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *before: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(values: np.ndarray, colour: int, *before: bytes) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, colour, rows, *before)


def tiff(tags: dict[int, tuple[str, tuple[int, ...]]], strip: bytes, order: str = "<") -> bytes:
    """A one-strip, uncompressed TIFF written by hand: tag → (struct type, values)."""
    tags = {**tags, 273: ("I", (8,)), 279: ("I", (len(strip),))}
    kinds, sizes = {"H": 3, "I": 4}, {"H": 2, "I": 4}
    start = 8 + len(strip) + len(strip) % 2
    spill, entries = b"", b""
    spill_at = start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            value = struct.pack(order + "I", spill_at + len(spill))
            spill += packed
        else:
            value = packed.ljust(4, b"\0")
        assert len(packed) == sizes[kind] * len(values)
        entries += struct.pack(order + "HHI", tag, kinds[kind], len(values)) + value
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    return head + strip + b"\0" * (len(strip) % 2) + struct.pack(order + "H", len(tags)) + entries + b"\0" * 4 + spill


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    part = alpha[..., None] / 255
    return np.floor(rgb * part + 255 * (1 - part) + 0.5 + 1e-9).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())
