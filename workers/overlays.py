"""Where an image's overlay goes, and writing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workers.atomic import temporary_name
from workers.folder import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from pipelines.types import Image

FOLDER = "overlays"
JPEG_QUALITY = 88
# The shorter side an overlay keeps of a large photograph, in pixels; above it the decoder may shrink while it decodes.
SHORTER_SIDE = 720

_JPEG = frozenset({".jpg", ".jpeg"})
_MARK = ".overlay"


def overlay_name(image: str) -> str:
    """The overlay's name below the output folder: the image's own path, always a JPEG, never that of another image.

    `a.jpg` keeps its name and `a.png` becomes `a.png.jpg`, so an image that is really called `a.png.jpg` gives way and
    becomes `a.png.jpg.jpg`. A file that was named outright and has no image's suffix, `a`, becomes `a.overlay.jpg`.
    """
    suffix, before = _suffixes(image.rpartition("/")[2])
    if suffix in _JPEG and before not in IMAGE_SUFFIXES and before != _MARK:
        return f"{FOLDER}/{image}"
    return f"{FOLDER}/{image}.jpg" if suffix in IMAGE_SUFFIXES else f"{FOLDER}/{image}{_MARK}.jpg"


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix of a file name and that of what is left without it, each with its dot, in lower case."""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        return "", ""
    _, second_dot, second = stem.rpartition(".")
    return f".{suffix.lower()}", f".{second.lower()}" if second_dot else ""


def write_overlay(path: Path, pixels: Image) -> None:
    """Write a picture as JPEG, whole or not at all.

    pixels: (H, W, 3) uint8 RGB.
    Raises OSError if it can't be written. Not synced: an overlay lost to a power cut is drawn again by `--force`, and
    waiting for the disk at every picture would cost more than the network does.
    """
    import cv2

    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name(path.name)
    try:
        temporary.write_bytes(encoded.data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
