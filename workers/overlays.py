"""Where an image's overlay goes, and writing it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from workers.atomic import temporary_name

if TYPE_CHECKING:
    from pipelines.types import Image

FOLDER = "overlays"
JPEG_QUALITY = 88
# The shorter side an overlay keeps of a large photograph, in pixels; above it the decoder may shrink while it decodes.
SHORTER_SIDE = 720

_JPEG = (".jpg", ".jpeg")
_AMBIGUOUS = (*_JPEG, ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jpe", ".jfif", ".dib", ".apng")


def overlay_name(image: str) -> str:
    """The overlay's name below the output folder: the image's own path, always a JPEG, never that of another image.

    `a.jpg` keeps its name, `a.png` becomes `a.png.jpg`, and so an image that is really called `a.png.jpg` must give way
    and becomes `a.png.jpg.jpg`.
    """
    path = PurePosixPath(image)
    keeps = path.suffix.lower() in _JPEG and PurePosixPath(path.stem).suffix.lower() not in _AMBIGUOUS
    return f"{FOLDER}/{image}" if keeps else f"{FOLDER}/{image}.jpg"


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
