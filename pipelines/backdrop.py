"""What stands behind a person instead of the real background: a colour, or a picture.

Nothing here loads a library for pictures before a picture is read: the client checks parameters with it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from pipelines.image import Limits
    from pipelines.types import Image

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A colour (r, g, b), or a picture: (H, W, 3) uint8 RGB."""

    colour: tuple[int, int, int] = (255, 255, 255)
    picture: Image | None = None

    def for_size(self, size: tuple[int, int]) -> Image | None:
        """Fit the picture behind one of this (height, width): centred, filling it, what is too wide or high cut off.

        Returns (H, W, 3) uint8, or None for a colour.
        """
        if self.picture is None:
            return None
        import cv2

        (height, width), (own_height, own_width) = size, self.picture.shape[:2]
        ratio = max(height / own_height, width / own_width)
        seen_height = min(own_height, max(1, round(height / ratio)))
        seen_width = min(own_width, max(1, round(width / ratio)))
        top, left = (own_height - seen_height) // 2, (own_width - seen_width) // 2
        seen = self.picture[top : top + seen_height, left : left + seen_width]
        how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
        fitted: Image = cv2.resize(seen, (width, height), interpolation=how)  # type: ignore[assignment]
        return fitted


def is_colour(text: str) -> bool:
    """Whether this is a colour; anything else is the path of a picture. Raises ValueError for half a colour."""
    if _COLOUR.fullmatch(text):
        return True
    if text.startswith("#"):
        raise ValueError(f"{text!r} is no colour: it takes # and six hexadecimal digits, like '#20a0ff'")
    return False


def settled_path(text: str) -> str:
    """Make a picture's path absolute, so that it means the same to a worker. Raises ValueError if there is no file."""
    path = Path(os.path.realpath(os.path.expanduser(text)))  # noqa: PTH111 - must not raise for ~name
    if not path.is_file():
        raise ValueError(f"there is no picture {text!r}; a colour is written like '#ffffff'")
    return str(path)


def checksum(path: str) -> str:
    """The sha256 of a picture's file, hex. Raises ValueError if it can't be read."""
    try:
        stat = Path(path).stat()
        return _checksum(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"the picture {path} can't be read: {error.strerror or error}") from error


@lru_cache(maxsize=8)
def _checksum(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_backdrop(text: str, sha256: str | None, limits: Limits) -> Backdrop:
    """Read a backdrop: a colour `#rrggbb`, or the path of a picture.

    sha256: what the file should be; None takes any.
    Raises ParameterError if it can't be read or is another file by now.
    """
    from pipelines.image import decode, read_bytes

    if is_colour(text):
        return Backdrop(colour=(int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)))
    try:
        data = read_bytes(Path(text), limits)
        picture = decode(data, limits).pixels
    except ImageError as error:
        raise ParameterError(f"background picture {text} can't be used: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ParameterError(
            f"background picture {text} has changed since the job began (checksum {found[:12]}, the job wants "
            f"{sha256[:12]}): run the command again"
        )
    return Backdrop(picture=picture)
