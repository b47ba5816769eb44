"""Style pictures of the user's own, as parameters name them: paths, each with a weight and a checksum.

Nothing here loads a library for pictures before a picture is read: the client checks parameters with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from pipelines.image import Limits
    from pipelines.types import Image

MOST = 8


def settled(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Make paths absolute, so that they mean the same to a worker. Raises ValueError without any, or without a file."""
    if not paths:
        raise ValueError("optimise paints in the style of your own pictures: name one or more, --style wave.jpg")
    found = []
    for text in paths:
        path = Path(os.path.realpath(os.path.expanduser(text)))  # noqa: PTH111 - must not raise for ~name
        if not path.is_file():
            raise ValueError(f"there is no style picture {text!r}: name a file, as --style wave.jpg")
        found.append(str(path))
    return tuple(found)


def settled_weights(weights: tuple[float, ...], count: int) -> tuple[float, ...]:
    """One weight a style; none given: all alike. Raises ValueError for another number of them, or one not above 0."""
    if not weights:
        return (1.0,) * count
    if len(weights) != count:
        raise ValueError(f"{count} style pictures need {count} weights, or none, these are {len(weights)}")
    if not all(0 < weight <= 1000 for weight in weights):
        raise ValueError(f"the weight of a style is above 0 and at most 1000, these are {', '.join(map(str, weights))}")
    return weights


def split_weight(text: str) -> tuple[str, float]:
    """Take `udnie.jpg:0.5` apart: a path and a weight, 1 where none is said. A file of the whole name goes before."""
    path, colon, number = text.rpartition(":")
    if not colon or not path or Path(text).expanduser().exists():
        return text, 1.0
    try:
        return path, float(number)
    except ValueError:
        return text, 1.0


def read_styles(paths: Sequence[str], checksums: Sequence[str], limits: Limits) -> list[Image]:
    """Read style pictures: (H, W, 3) uint8 RGB each.

    checksums: what the files should be. Raises ParameterError naming the one that can't be read, or has changed.
    """
    from pipelines.image import decode, read_bytes

    found = []
    for path, checksum in zip(paths, checksums, strict=True):
        try:
            data = read_bytes(Path(path), limits)
            found.append(decode(data, limits).pixels)
        except ImageError as error:
            raise ParameterError(f"style picture {path} can't be used: {error}") from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != checksum:
            raise ParameterError(
                f"style picture {path} has changed since the job began (checksum {actual[:12]}, the job wants "
                f"{checksum[:12]}): run the command again"
            )
    return found
