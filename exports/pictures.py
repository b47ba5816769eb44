"""Real photographs to verify an export on, and pictures of odd sizes cut from them.

`--verify FOLDER` names them. Without it, those that lie at hand are taken, in this order: the samples beside the
project, the photographs inside installed wheels (Ultralytics' two, scikit-image's, all freely licensed), and, so that
it works anywhere, pictures this file draws. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from pipelines.errors import ImageError, ParameterError
from pipelines.image import decode, read_bytes
from pipelines.types import Image

NamedPicture: TypeAlias = tuple[str, Path | Image]

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
PICTURE_FOLDERS = ("images", "JPEGImages")  # of labelled data, as YOLO and Pascal VOC call them
_SAMPLES = Path(__file__).parents[1] / "samples"
_WHEELS = (
    ("ultralytics", "assets", ("bus.jpg", "zidane.jpg")),
    ("skimage", "data", ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")),
)
# height × width: odd, very wide, very tall, tiny
ODD_SIZES = ((331, 517), (97, 1031), (1031, 97), (33, 47), (1, 1))


@dataclass(frozen=True, slots=True)
class Photographs:
    """Pictures and where they come from, in words without paths, for the card."""

    pictures: tuple[NamedPicture, ...]
    origin: str


def photographs(folder: Path | None, most: int) -> Photographs:
    """Up to `most` photographs: of a folder, evenly spread over its files in order, or those at hand.

    Raises ParameterError if the folder holds no picture that can be read.
    """
    if folder is not None:
        paths = image_files(folder)
        chosen = [path for path in spread(paths, most * 2) if _readable(path)][:most]
        if not chosen:
            raise ParameterError(f"folder {folder} holds no picture that can be read: nothing to verify with")
        return Photographs(tuple((path.name, path) for path in chosen), f"{len(chosen)} pictures of {folder.name}")
    found = [(path.name, path) for path in at_hand() if _readable(path)][:most]
    drawn = [(f"drawn-{seed}", draw(seed)) for seed in range(max(0, min(most, 4) - len(found)))]
    said = [f"{len(found)} photographs"] if found else []
    said += [f"{len(drawn)} drawn pictures"] if drawn else []
    return Photographs((*found, *drawn), " and ".join(said))


def image_files(folder: Path) -> list[Path]:
    """Every file below a folder that is named like a picture, sorted; of a labelled folder those in `images/` only.

    Raises ParameterError if there is no such folder or it holds none.
    """
    if not folder.is_dir():
        raise ParameterError(f"there is no folder {folder}")
    # beside them may lie PNGs of class numbers, which are no photographs
    inside = next((folder / name for name in PICTURE_FOLDERS if (folder / name).is_dir()), folder)
    found = sorted(path for path in inside.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ParameterError(f"folder {folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def at_hand() -> Iterator[Path]:
    """Photographs that are on this machine anyway."""
    if _SAMPLES.is_dir():
        yield from sorted(path for path in _SAMPLES.rglob("*") if path.suffix.lower() in SUFFIXES)
    for package, folder, names in _WHEELS:
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):
            continue
        for place in (spec.submodule_search_locations if spec else None) or ():
            yield from (path for name in names if (path := Path(place) / folder / name).is_file())


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly spread over the whole list."""
    if len(paths) <= most:
        return list(paths)
    return [paths[i * len(paths) // most] for i in range(most)]


def pixels_of(picture: Path | Image) -> Image:
    """(H, W, 3) uint8 RGB, whole. Raises ImageError."""
    return decode(read_bytes(picture)).pixels if isinstance(picture, Path) else picture


def sized(picture: Path | Image, size: tuple[int, int]) -> Image:
    """The largest part of a picture with this aspect, resized to (height, width)."""
    pixels = pixels_of(picture)
    height, width = size
    part = min(pixels.shape[0] / height, pixels.shape[1] / width)
    tall, wide = max(1, int(height * part)), max(1, int(width * part))
    top, left = (pixels.shape[0] - tall) // 2, (pixels.shape[1] - wide) // 2
    cut = np.ascontiguousarray(pixels[top : top + tall, left : left + wide])
    resized: Image = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return resized


def draw(seed: int, size: tuple[int, int] = (480, 640)) -> Image:
    """A picture with edges, gradients, texture and overlapping shapes; the same for the same seed. (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    height, width = size
    down, right = np.mgrid[0:height, 0:width] / max(size)
    corners = random.uniform(0, 255, (3, 3))
    ground = corners[0] + down[..., None] * (corners[1] - corners[0]) + right[..., None] * (corners[2] - corners[0])
    canvas = np.ascontiguousarray(np.clip(ground, 0, 255).astype(np.uint8))
    for _ in range(14):
        colour = [int(c) for c in random.integers(0, 256, 3)]
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        a, b = (int(v) for v in random.integers(20, max(21, min(size) // 3), 2))
        if random.random() < 0.5:
            cv2.ellipse(canvas, (x, y), (a, b), float(random.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (x, y), (x + a, y + b), colour, -1, cv2.LINE_AA)
    grain = random.normal(0, 12, canvas.shape)
    drawn: Image = np.clip(canvas + grain, 0, 255).astype(np.uint8)
    return drawn


def _readable(path: Path) -> bool:
    try:
        pixels_of(path)
    except ImageError:
        return False
    return True
