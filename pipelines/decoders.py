"""From bytes with a known header to RGB as stored: by OpenCV where it is fastest or alone able, else by Pillow.

Whatever these libraries raise on hostile data leaves as an ImageError.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL import WebPImagePlugin as WebPPlugin
from PIL.Image import Image as PillowImage

from pipelines.errors import ImageError
from pipelines.headers import Header
from pipelines.headers.png import check_png_rows, check_png_sums
from pipelines.hush import hush_pillow, hushed
from pipelines.pixels import over_white, to_8_bits
from pipelines.types import Image

# Not Image.open: that would try every format Pillow knows, and its own pixel limit would override ours in both
# directions (a class opens without it; `Limits` has been checked, and the size is compared with the header's below).
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPPlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
# Flags of the decoder: the "grey" ones hold the scale alone; the RGB flag then settles the colour.
_SCALE_FLAGS = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_EOI = b"\xff\xd9"
_QUIET_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_ENDS_EARLY = re.compile(
    r"truncated|unexpected end|not enough|EOF|buffer is not large|requires a buffer", re.IGNORECASE
)
_opencv_log: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 and 4 keep it in different places
_opencv_log_in_use = threading.Lock()
hush_pillow()


def decode_jpeg(data: bytes, header: Header, part: int) -> Image:
    """Decode a grey or colour JPEG at 1/`part` of its size (1, 2, 4, 8), not turned.

    Raises ImageError: truncated (no end marker after the first scan: OpenCV would fill the rest with grey), corrupt.
    """
    _check_end(data, header)
    try:
        with hushed():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _RGB | _SCALE_FLAGS[part])
    except cv2.error as error:
        raise ImageError("corrupt", f"the JPEG can't be decoded ({_reason(error)})") from error
    wanted = (-(-header.height // part), -(-header.width // part), 3)
    if pixels is None or pixels.shape != wanted:
        raise ImageError("corrupt", "the JPEG's image data are damaged and can't be decoded")
    return pixels  # type: ignore[return-value]


def _check_end(data: bytes, header: Header) -> None:
    # inside image data no FF D9 can stand (T.81, B.1.1.5), and searching from behind finds a sound file's at once
    if data.rfind(_EOI, header.data_offset) < 0:
        message = (
            f"the JPEG ends after {len(data):,} bytes without its end marker: it was cut off, probably in transfer"
        )
        raise ImageError("truncated", f"{message}; copy it again")


def decode_other(data: bytes, header: Header) -> Image:
    """Decode anything but a grey or colour JPEG, not turned.

    Raises ImageError: truncated, corrupt, unsupported_pixels, too_many_pixels (no memory left).
    """
    if header.format == "TIFF" and header.orientation != 1:
        # both libraries turn TIFFs by themselves, whatever one asks of them: they get a copy that says "upright"
        copy = bytearray(data)
        copy[header.orientation_at] = 1
        data = bytes(copy)
    if header.format == "JPEG":
        _check_end(data, header)
    if header.format == "PNG":
        check_png_sums(data)
    try:
        return _decode_strictly(data, header)
    except ImageError:
        raise
    except MemoryError as error:
        message = f"there is not enough memory to decode {header.width}×{header.height} pixels"
        raise ImageError("too_many_pixels", message) from error
    except Exception as error:  # decoders raise anything on hostile data; each becomes this image's error
        raise _as_image_error(error, header) from error


def _decode_strictly(data: bytes, header: Header) -> Image:
    if _QUIET_PILLOW not in warnings.filters:  # catch_warnings would change what other threads see
        warnings.filterwarnings("ignore", module=_QUIET_PILLOW[3].pattern)
    with _READERS[header.format](io.BytesIO(data)) as picture:
        if picture.size != (header.width, header.height):
            raise ImageError("corrupt", f"the {header.format} contradicts itself about its size")
        if picture.mode in ("F", "I", "LAB", "I;16S", "I;16BS"):
            raise ImageError(
                "unsupported_pixels", f"the {header.format} holds {picture.mode!r} pixels; convert it to RGB"
            )
        picture.load()
        if header.format == "PNG" and (header.progressive or _last_row_is_empty(picture)):
            check_png_rows(data, header)
        if header.bit_depth == 16 and header.colour != "cmyk":
            return _decode_16_bits(data, header, picture.info.get("transparency"))
        if picture.mode == "RGB" and not header.alpha:
            pixels: Image = np.array(picture)
        elif header.alpha or "A" in picture.mode or "transparency" in picture.info:
            pixels = over_white(np.asarray(picture.convert("RGBA")))
        else:
            pixels = np.array(picture.convert("RGB"))
    return pixels


def _last_row_is_empty(picture: PillowImage) -> bool:
    """Whether the last row is all zeros, as it is where rows are missing (an interlaced picture's shows nothing)."""
    width, height = picture.size
    return picture.crop((0, height - 1, width, height)).getbbox() is None


def _decode_16_bits(data: bytes, header: Header, transparent: Any) -> Image:
    """Decode with OpenCV: Pillow keeps only the upper byte of 16-bit colour."""
    if header.format == "PNG":
        check_png_rows(data, header)
    with _opencv_log_in_use:  # OpenCV writes what it thinks of a TIFF's tags on stderr
        level = _opencv_log.getLogLevel()
        _opencv_log.setLogLevel(0)
        try:
            with hushed():
                stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            _opencv_log.setLogLevel(level)
    if stored is None or stored.shape[:2] != (header.height, header.width) or stored.dtype != np.uint16:
        raise ImageError("corrupt", f"the {header.format}'s image data are damaged and can't be decoded")
    return _from_opencv(stored, header, transparent)


def _from_opencv(stored: NDArray[Any], header: Header, transparent: Any) -> Image:
    if stored.ndim == 2:
        if header.white_is_zero:
            stored = 65535 - stored
        pixels = cv2.cvtColor(to_8_bits(stored), cv2.COLOR_GRAY2RGB)
        key = stored == transparent if isinstance(transparent, int) else None
    else:
        pixels = cv2.cvtColor(to_8_bits(stored), cv2.COLOR_BGR2RGB if stored.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
        key = None
        if stored.shape[2] == 3 and isinstance(transparent, tuple):
            key = (stored == np.array(transparent[::-1], np.uint16)).all(axis=2)
    if key is not None:
        pixels[key] = 255
    if pixels.shape[2] == 3:
        return pixels  # type: ignore[return-value]
    if not header.alpha:
        return np.ascontiguousarray(pixels[..., :3])
    return over_white(pixels, header.premultiplied)  # type: ignore[arg-type]


def _as_image_error(error: Exception, header: Header) -> ImageError:
    reason = _reason(error)
    if _ENDS_EARLY.search(reason):
        return ImageError("truncated", f"the {header.format} ends before its picture does ({reason}); copy it again")
    if isinstance(error, SyntaxError | NotImplementedError) and re.search(r"unknown|unsupported|not supported", reason):
        return ImageError("unsupported_pixels", f"this kind of {header.format} is not supported ({reason})")
    return ImageError("corrupt", f"the {header.format}'s data are damaged and can't be decoded ({reason})")


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 120 else words[:117] + "…"
