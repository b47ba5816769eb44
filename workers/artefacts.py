"""The files a result has besides its line: where they go, and writing them whole or not at all.

    DST/overlays/…   what was found, drawn into the picture
    DST/masks/…      a class for every pixel, as a palette PNG
    DST/pictures/…   the picture a pipeline made
    DST/steps/…      what it was before it was done (`workers.stepping`)

Formats and names, and why: docs/decisions/0009-artefacts.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workers.atomic import temporary_name
from workers.folder import IMAGE_SUFFIXES
from workers.lines import JsonDict, made_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.results import RenderedPicture, SemanticMask

OVERLAYS, MASKS, PICTURES, STEPS = "overlays", "masks", "pictures", "steps"
FOLDERS = (OVERLAYS, MASKS, PICTURES, STEPS)

# The shorter side an overlay keeps of a large photograph, in pixels; above it the decoder may shrink while it decodes.
SHORTER_SIDE = 720

_OVERLAY_QUALITY = 88  # something to look at
_PICTURE_QUALITY = 92  # something to keep

# How each kind may end, the ending it is given first.
_ENDINGS = {"jpg": (".jpg", ".jpeg"), "png": (".png",)}
_LOSSLESS = IMAGE_SUFFIXES - {".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}


def artefact_name(folder: str, image: str, kind: str) -> str:
    """Name an image's file in one of the `FOLDERS`, never as that of another image.

    kind: "jpg" or "png".
    Where JPEGs are written, `a.jpg` keeps its name and `a.png` becomes `a.png.jpg`, so an image that is really called
    `a.png.jpg` gives way and becomes `a.png.jpg.jpg`. A file that was named outright and has no image's suffix, `a`,
    becomes `a.overlay.jpg` among the overlays.
    """
    endings, mark = _ENDINGS[kind], "." + folder.removesuffix("s")
    suffix, before = _suffixes(image.rpartition("/")[2])
    if suffix in endings and before not in IMAGE_SUFFIXES and before != mark:
        return f"{folder}/{image}"
    return f"{folder}/{image}{endings[0]}" if suffix in IMAGE_SUFFIXES else f"{folder}/{image}{mark}{endings[0]}"


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix of a file name and that of what is left without it, each with its dot, in lower case."""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        return "", ""
    _, second_dot, second = stem.rpartition(".")
    return f".{suffix.lower()}", f".{second.lower()}" if second_dot else ""


def overlay_name(image: str) -> str:
    """The name of an image's overlay below the output folder."""
    return artefact_name(OVERLAYS, image, "jpg")


def mask_name(image: str) -> str:
    """The name of an image's mask below the output folder."""
    return artefact_name(MASKS, image, "png")


def picture_kind(image: str, channels: int) -> str:
    """Choose how to keep the picture made from an image: "png" with alpha or for a lossless image, "jpg" otherwise."""
    suffix, _ = _suffixes(image.rpartition("/")[2])
    return "png" if channels == 4 or suffix in _LOSSLESS else "jpg"


def possible_names(image: str) -> list[str]:
    """Every name below the output folder under which something may be written for an image."""
    return [overlay_name(image), mask_name(image), *(artefact_name(PICTURES, image, kind) for kind in _ENDINGS)]


def write_overlay(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a drawn picture, (H, W, 3) uint8 RGB, as JPEG. Raises OSError as `write_whole`."""
    write_whole(path, _jpeg(pixels, _OVERLAY_QUALITY))


def write_mask(path: Path, mask: SemanticMask) -> None:
    """Write a class map as a palette PNG. Raises OSError as `write_whole`."""
    write_whole(path, encode_mask(mask.class_map, mask.names))


def write_picture(output: Path, image: str, picture: RenderedPicture) -> str:
    """Write the picture made from an image; one of the other kind, of a run with other parameters, gives way.

    Returns its name below the output folder. Raises OSError as `write_whole`.
    """
    kind = picture_kind(image, picture.pixels.shape[2])
    name = artefact_name(PICTURES, image, kind)
    write_whole(output / name, encode_picture(picture.pixels, kind))
    for other in _ENDINGS.keys() - {kind}:
        (output / artefact_name(PICTURES, image, other)).unlink(missing_ok=True)
    return name


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is whole or absent, with its folder.

    Raises OSError if it can't be written. Not synced: a picture lost to a power cut is made again by `--force`, and
    waiting for the disk at every picture would cost more than the network does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name(path.name)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def encode_mask(class_map: NDArray[np.uint8], names: tuple[str, ...]) -> bytes:
    """Encode a class map, (H, W) uint8, as PNG: the value of a pixel is its class id."""
    from pipelines.formats.png import palette_png
    from pipelines.palette import mask_palette

    return palette_png(class_map, mask_palette(names))


def encode_picture(pixels: NDArray[np.uint8], kind: str) -> memoryview:
    """Encode (H, W, 3) uint8 RGB or, as "png" only, (H, W, 4) RGBA. kind: "jpg" or "png"."""
    import cv2

    if kind == "jpg":
        return _jpeg(pixels, _PICTURE_QUALITY)
    swapped = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    # one filter instead of a trial of all five for every row: less time and, on photographs, smaller too
    options = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]
    options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return cv2.imencode(".png", swapped, options)[1].data


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> memoryview:
    import cv2

    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].data


def is_complete(output: Path, line: JsonDict, *, overlays: bool) -> bool:
    """Whether the files a good result should have are there.

    overlays: drawn pictures are asked for; a result that is a picture needs none.
    """
    if "picture" in line:
        return _is_file(output, made_picture(line).get("file"))
    if "segments" in line and not _is_file(output, line.get("mask")):
        return False
    return not overlays or _is_file(output, line.get("overlay"))


def _is_file(output: Path, name: object) -> bool:
    return isinstance(name, str) and (output / name).is_file()
