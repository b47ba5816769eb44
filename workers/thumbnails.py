"""Small pictures for the report and the contact sheet: of the overlay, or drawn from the original, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workers.lines import JsonDict

if TYPE_CHECKING:
    from pipelines.types import Image

_QUALITY = 82


def thumbnail(dst: Path, root: Path | None, line: JsonDict, width: int, height: int) -> Image | None:
    """Give the picture of a result, scaled down to fit into height × width; never enlarged.

    dst: the job's output folder, where the overlay is looked for.
    root: the folder the image names start from; without an overlay the original is read there and drawn on.
    Returns (h, w, 3) uint8 RGB, or None if neither picture can be read (any more).
    """
    picture = _overlay(dst, line, width, height)
    if picture is None and root is not None:
        picture = _drawn_original(root, line, width, height)
    return picture


def jpeg(picture: Image) -> bytes:
    """Encode a picture, (h, w, 3) uint8 RGB, as JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be encoded as JPEG")
    return data.tobytes()


def overlay_path(dst: Path, line: JsonDict) -> Path | None:
    """Where a result's overlay lies; None if it has none or names a file outside `dst`."""
    if not line.get("overlay"):
        return None
    path = dst / str(line["overlay"])
    return path if path.resolve().is_relative_to(dst.resolve()) else None


def _overlay(dst: Path, line: JsonDict, width: int, height: int) -> Image | None:
    path = overlay_path(dst, line)
    return _fitted(path, line, width, height) if path is not None else None


def _drawn_original(root: Path, line: JsonDict, width: int, height: int) -> Image | None:
    from pipelines.draw import draw
    from pipelines.results import Labels, found_from_json

    found = found_from_json(line)
    path = root / str(line["image"])
    if found is None or not path.resolve().is_relative_to(root.resolve()):
        return None
    picture = _fitted(path, line, width, height)
    if picture is None or isinstance(found, Labels):  # a caption this small could not be read
        return picture
    size = (int(line["height"]), int(line["width"])) if "height" in line else picture.shape[:2]
    return draw(picture, size, found)


def _fitted(path: Path, line: JsonDict, width: int, height: int) -> Image | None:
    """Decode a picture no larger than needed and fit it into height × width; None if it can't be read."""
    import cv2
    import numpy as np

    from pipelines.errors import ImageError
    from pipelines.image import Limits, decode, probe, read_bytes

    # What the job accepted may be shown, whatever its limits were; they are not known here.
    limits = Limits(max_pixels=max(Limits().max_pixels, int(line.get("height", 0)) * int(line.get("width", 0))))
    try:
        data = read_bytes(path)
        full_height, full_width = probe(data).upright
        scale = min(width / full_width, height / full_height, 1.0)
        target = (max(1, round(full_height * scale)), max(1, round(full_width * scale)))
        picture = decode(data, limits, enough=target).pixels
    except ImageError:
        return None
    if picture.shape[:2] == target:
        return picture
    return np.asarray(cv2.resize(picture, target[::-1], interpolation=cv2.INTER_AREA), np.uint8)
