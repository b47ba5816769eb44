"""The one way from bytes to an upright RGB picture.

Every entry (folder, upload, notebook) comes through `decode`, so a picture looks the same to a model wherever it comes
from. The rules, each noted in `Picture.conversions` when it changed something:

- **Orientation** 1–8 of EXIF (JPEG, PNG, WebP) or of the TIFF is applied, once. XMP is not read.
- **Transparency** is laid over white, whether an alpha channel, a transparent colour or a palette entry.
- **16 bits** become 8 as v / 257, rounded (CMYK TIFF: by Pillow, which keeps the upper byte).
- **Grey** is repeated into three channels; a **palette** is expanded.
- **CMYK** is converted by Pillow, without a profile; Adobe's inverted JPEGs are turned round.
- **Several frames or pages**: the first.
- **ICC profiles are ignored**: the pictures that networks are trained on were read so (OpenCV, Pillow and torchvision
  apply none), and a converted picture would look different to the model from those.
- Float, signed and Lab pixels are refused: their range or meaning would be a guess.

Pixels and bytes are checked against `Limits` before a decoder sees the data. What ends too early is an error and never
a half-grey picture. Decoding is safe in many threads at once: nothing global is changed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pipelines.decoders import decode_jpeg, decode_other
from pipelines.errors import ImageError
from pipelines.headers import Header, probe
from pipelines.pixels import turn
from pipelines.types import Image

__all__ = ["Header", "Limits", "Picture", "conversions", "decode", "probe", "read_bytes", "reduction"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one image may cost.

    max_pixels: width × height as stored, read from the header before decoding.
    max_bytes: of the file.
    max_memory: bytes that a step may take, reckoned before it begins; 0: no limit.
    """

    max_pixels: int = 100_000_000
    max_bytes: int = 256 * 2**20
    max_memory: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    pixels: (H, W, 3) uint8 RGB, upright, C-contiguous; smaller than the original after a reduced decode.
    size: (height, width) of the upright original in pixels.
    conversions: what decoding changed, in words.
    """

    pixels: Image
    size: tuple[int, int]
    conversions: tuple[str, ...]


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path: Path, limits: Limits = Limits()) -> bytes:
    """Read a regular file whole.

    Raises ImageError: not_found, unreadable (no permission, an I/O error, not a regular file), empty_file,
    too_many_bytes (by the size the file system states, before reading).
    """
    # O_NONBLOCK: opening a named pipe must not wait for somebody to write into it
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123 a descriptor, not a path
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "not a regular file")
                raise ImageError("unreadable", f"this is {kind}, not a file with an image in it")
            _check_bytes(found.st_size, limits)
            data = file.readall()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("not_found", "there is no such file: it was moved, renamed or deleted") from error
    except PermissionError as error:
        raise ImageError("unreadable", "no permission to read this file; check its owner and mode") from error
    except IsADirectoryError as error:
        raise ImageError("unreadable", "this is a folder, not a file with an image in it") from error
    except OSError as error:
        raise ImageError("unreadable", f"the file can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ImageError("not_found", f"this can't be the name of a file: {error}") from error
    if not data:
        raise ImageError("empty_file", "the file is empty (0 bytes)")
    _check_bytes(len(data), limits)  # it may have grown since it was asked for its size
    return data


def _check_bytes(size: int, limits: Limits) -> None:
    if size > limits.max_bytes:
        message = f"the file has {size:,} bytes, the limit is {limits.max_bytes:,}; raise it or make the file smaller"
        raise ImageError("too_many_bytes", message)


def check_pixels(header: Header, limits: Limits) -> None:
    """Raise ImageError too_many_pixels if the picture as stored is larger than the limit."""
    if header.width * header.height > limits.max_pixels:
        message = (
            f"the picture is {header.width}×{header.height} = {header.width * header.height:,} pixels, the limit is "
            f"{limits.max_pixels:,}; raise it or make the picture smaller"
        )
        raise ImageError("too_many_pixels", message)


def decode(data: bytes, limits: Limits = Limits(), enough: tuple[int, int] | None = None) -> Picture:
    """Decode any supported image into upright 8-bit RGB, by the rules at the top of this file.

    data: the whole file.
    enough: the upright (height, width) that suffices. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as both
    sides stay at least that long; other formats always come whole.
    Raises ImageError: empty_file, too_many_bytes, not_an_image, truncated, corrupt, too_many_pixels,
    unsupported_pixels; nothing else, whatever the data.
    """
    _check_bytes(len(data), limits)
    header = probe(data)
    check_pixels(header, limits)
    if header.format == "JPEG" and header.colour != "cmyk":
        part = reduction(header, enough)
        pixels = decode_jpeg(data, header, part)
    else:
        part = 1
        pixels = decode_other(data, header)
    pixels = turn(pixels, header.orientation)
    return Picture(pixels, header.upright, conversions(header, part))


def reduction(header: Header, enough: tuple[int, int] | None) -> int:
    """Give by how much decoding can shrink the picture (1, 2, 4 or 8) and leave both sides at least `enough`.

    enough: upright (height, width); None asks for the whole picture.
    """
    if enough is None or header.format != "JPEG" or header.colour == "cmyk":
        return 1
    height, width = header.upright
    for part in (8, 4, 2):
        if -(-height // part) >= enough[0] and -(-width // part) >= enough[1]:  # libjpeg rounds up
            return part
    return 1


def conversions(header: Header, part: int = 1) -> tuple[str, ...]:
    """Say what `decode` changes about a picture with this header.

    part: 1, or the 2, 4 or 8 of a reduced decode.
    """
    said = []
    if header.frames > 1:
        said.append(f"first of {header.frames} frames")
    if header.colour != "rgb":
        said.append(f"{header.colour} to rgb")
    if header.bit_depth == 16:
        said.append("16-bit to 8-bit")
    if header.alpha:
        said.append("alpha over white")
    if header.orientation != 1:
        said.append(f"exif orientation {header.orientation} applied")
    if part > 1:
        said.append(f"decoded at 1/{part} size")
    return tuple(said)
