"""Real files of every kind, and the damage a seed does to them: at any byte, or along the seams of their format.

`python -m tests.pipelines.mutations FIRST COUNT NOTE` decodes the damage of COUNT seeds, apart from pytest, because a
decoder that kills its process must not kill the tests; NOTE then holds the seed that did.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import IMAGE_ERROR_CODES, ImageError
from pipelines.image import Limits, Picture, decode, probe
from tests.pipelines.made_images import saved, scene

SMALL = Limits(max_pixels=1_000_000)
LONGEST_SECONDS = 30  # for one of these files, each decoded in milliseconds while it is sound
MEMORY_MB = 400  # what a campaign may grow by: a picture of SMALL takes 3 MB, a few times over

Parts = list[bytes]


@cache
def originals() -> dict[str, bytes]:
    """Sound files, large enough for several scans, strips, tiles and blocks, by what is special about them."""
    y, x = np.mgrid[0:90, 0:130]
    noise = np.random.default_rng(7).integers(0, 25, (90, 130, 3))
    rgb = np.clip(scene(90, 130).astype(int) + noise, 0, 255).astype(np.uint8)
    wide = rgb.astype(np.uint16) * 257
    picture, alpha = Image.fromarray(rgb), Image.fromarray(((x * y) % 256).astype(np.uint8))
    clear = Image.merge("RGBA", [*picture.split(), alpha])
    grey, palette, cmyk = picture.convert("L"), picture.quantize(80), picture.convert("CMYK")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "maker", {0x9286: "a comment"}
    more = {"save_all": True, "append_images": [picture.rotate(180)]}

    def by_opencv(suffix: str, pixels: np.ndarray, *options: int) -> bytes:
        return cv2.imencode(suffix, pixels, options)[1].tobytes()

    return {
        "jpeg": saved(picture, "JPEG", exif=exif, icc_profile=b"p" * 200, comment=b"c"),
        "progressive jpeg": saved(picture, "JPEG", progressive=True, subsampling=0),
        "grey jpeg": saved(grey, "JPEG", optimize=True),
        "cmyk jpeg": saved(cmyk, "JPEG", quality=60),
        "jpeg with restarts": by_opencv(".jpg", rgb, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
        "png": saved(picture, "PNG", exif=exif, icc_profile=b"p" * 90),
        "alpha png": saved(clear, "PNG"),
        "palette png": saved(palette, "PNG", transparency=bytes(range(80))),
        "4-bit png": saved(picture.quantize(12), "PNG", bits=4),
        "1-bit png": saved(picture.convert("1"), "PNG"),
        "grey alpha png": saved(Image.merge("LA", [grey, alpha]), "PNG"),
        "16-bit png": by_opencv(".png", wide),
        "16-bit grey png": by_opencv(".png", wide[..., 0]),
        "apng": saved(picture, "PNG", **more),
        "webp": saved(picture, "WEBP", quality=50),
        "alpha webp": saved(clear, "WEBP", exif=exif, icc_profile=b"p" * 90),
        "lossless webp": saved(clear, "WEBP", lossless=True),
        "animated webp": saved(picture, "WEBP", **more),
        "bmp": saved(picture, "BMP"),
        "palette bmp": saved(palette, "BMP"),
        "alpha bmp": saved(clear, "BMP"),
        "1-bit bmp": saved(picture.convert("1"), "BMP"),
        "tiff": saved(picture, "TIFF", tiffinfo={0x0112: 8}),
        "lzw tiff": saved(clear, "TIFF", compression="tiff_lzw"),
        "packbits tiff": saved(palette, "TIFF", compression="packbits"),
        "deflate tiff": saved(picture, "TIFF", compression="tiff_adobe_deflate"),
        "fax tiff": saved(picture.convert("1"), "TIFF", compression="group4"),
        "jpeg tiff": saved(picture, "TIFF", compression="jpeg"),
        "cmyk tiff": saved(cmyk, "TIFF"),
        "16-bit tiff": by_opencv(".tiff", wide),
        "16-bit grey tiff": by_opencv(".tiff", wide[..., 0]),
        "two-page tiff": saved(picture, "TIFF", **more),
        "gif": saved(palette, "GIF", transparency=5),
        "animated gif": saved(palette, "GIF", **more),
    }


def damage(seed: int) -> tuple[str, bytes]:
    """What a seed makes of one of the originals: (which, the damaged file)."""
    rng = random.Random(seed)
    kind = rng.choice(tuple(originals()))
    data = originals()[kind]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        data = _along_its_seams(rng, data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        data = rng.choice(_ANYWHERE)(rng, data)
    if rng.random() < 0.7:
        data = with_right_sums(data)
    return kind, data


def _place(rng: random.Random, data: bytes) -> int:
    """A place in a file, as often near its beginning, where most meaning is, as anywhere."""
    return rng.randrange(min(len(data), rng.choice((40, 200, 1000, 1 << 30))) + 1)


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 12))):
        at = _place(rng, data)
        if at < len(changed):
            changed[at] = rng.choice((changed[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255))
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _drop(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 4, 50)) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice((rng.randbytes(rng.randrange(1, 60)), bytes(8), b"\xff\xd9", b"\xff\xd8")) + data[at:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at, length = _place(rng, data), rng.choice((2, 12, 100, 1000))
    return data[: at + length] + data[at : at + length] * rng.choice((1, 2, 20)) + data[at + length :]


def _number(rng: random.Random, data: bytes) -> bytes:
    """One of the numbers that programs trip over, where some length, count, offset or size may stand."""
    at, order = _place(rng, data), rng.choice("<>")
    value = rng.choice((0, 1, 2, 3, 7, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data)))
    kind, most = rng.choice((("H", 0xFFFF), ("I", 0xFFFFFFFF)))
    packed = struct.pack(order + kind, value & most)
    return data[:at] + packed + data[at + len(packed) :]


def _splice(rng: random.Random, data: bytes) -> bytes:
    other = originals()[rng.choice(tuple(originals()))]
    at, start, length = _place(rng, data), _place(rng, other), rng.choice((4, 40, 400))
    return data[:at] + other[start : start + length] + data[at + length * rng.randrange(2) :]


_ANYWHERE: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip, _flip, _cut, _drop, _insert, _repeat, _number, _number, _splice,
)  # fmt: skip


def _along_its_seams(rng: random.Random, data: bytes) -> bytes:
    """Repeat, swap, drop or cut short whole segments, chunks or directory entries."""
    parts = _split(data)
    if len(parts) < 3:
        return data
    one, other = rng.randrange(1, len(parts)), rng.randrange(1, len(parts))
    how = rng.randrange(5)
    if how == 0:
        parts.insert(other, parts[one])
    elif how == 1:
        parts[one], parts[other] = parts[other], parts[one]
    elif how == 2:
        del parts[one]
    elif how == 3:
        parts[one] = parts[one][: rng.randrange(len(parts[one]) + 1)]
    else:
        parts[one] = parts[one] * rng.choice((2, 30))
    return b"".join(parts)


def _split(data: bytes) -> Parts:
    """A file in its parts; joined they are the file again."""
    if data.startswith(b"\x89PNG"):
        return [data[:8], *_chunks(data, 8, ">", before=4, after=4)]
    if data.startswith(b"RIFF"):
        return [data[:12], *_chunks(data, 12, "<", before=4, after=0)]
    if data.startswith(b"\xff\xd8"):
        marks = [at for at in range(2, len(data) - 1) if data[at] == 0xFF and data[at + 1] >= 0xC0]
    elif data.startswith((b"II*\0", b"MM\0*")):
        order = "<" if data.startswith(b"II") else ">"
        start = struct.unpack_from(order + "I", data, 4)[0] if len(data) >= 8 else 0
        marks = [at for at in range(start + 2, start + 2 + 12 * 20, 12) if at < len(data)]
    else:
        marks = list(range(14, len(data), 50))
    return [data[at:end] for at, end in pairwise([0, *marks, len(data)])]


def _chunks(data: bytes, start: int, order: str, before: int, after: int) -> Parts:
    """Chunks of (name, length) or (length, name) and a body, whole as far as they go."""
    parts, at = [], start
    while at + 8 <= len(data):
        length = struct.unpack_from(order + "I", data, at + (0 if after else before))[0]
        end = min(len(data), at + 8 + length + (length % 2 if not after else 0) + after)
        parts.append(data[at:end])
        at = end
    return [*parts, data[at:]]


def with_right_sums(data: bytes) -> bytes:
    """A PNG whose every chunk has the checksum of its body, so that what is in it is looked at; else the same data."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    parts = _chunks(data, 8, ">", before=4, after=4)
    right = [p[:-4] + struct.pack(">I", zlib.crc32(p[4:-4])) if len(p) >= 12 else p for p in parts]
    return data[:8] + b"".join(right)


def decoded_or_refused(data: bytes, enough: tuple[int, int] | None) -> str:
    """Decode, and hold what must hold whatever the data; gives "ok" or the error's code."""
    try:
        picture = decode(data, SMALL, enough)
    except ImageError as error:
        assert error.code in IMAGE_ERROR_CODES
        assert 10 < len(str(error)) < 400
        return error.code
    assert isinstance(picture, Picture)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    assert picture.pixels.shape[2] == 3
    assert picture.pixels.flags.c_contiguous
    assert enough is not None or picture.pixels.shape[:2] == picture.size
    assert probe(data).upright == picture.size
    return "ok"


def campaign(first: int, count: int, note: str) -> None:
    """Decode the damage of `count` seeds; print how often each outcome came, and the peak memory's growth in MB."""
    outcomes: dict[str, int] = {}
    for data in originals().values():  # what the libraries take once is not the damage's
        assert decoded_or_refused(data, None) == "ok"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(note, "wb", buffering=0) as file:  # noqa: PTH123 a raw file: the last word must be out before the crash
        for seed in range(first, first + count):
            os.pwrite(file.fileno(), b"%-12d" % seed, 0)
            faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
            outcome = decoded_or_refused(damage(seed)[1], None if seed % 3 else (10, 10))
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    faulthandler.cancel_dump_traceback_later()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEMORY_MB, f"{grown:.0f} MB"
    sys.stdout.write(" ".join(f"{name}={number}" for name, number in sorted(outcomes.items())) + f" MB={grown:.0f}\n")


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
