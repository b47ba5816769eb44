"""Small pictures for the report and the contact sheet: of the overlay, drawn from the original, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workers.lines import JsonDict, made_picture

if TYPE_CHECKING:
    from pipelines.palette import Colour
    from pipelines.results import SemanticMask
    from pipelines.types import Image

_QUALITY = 82
_GAP = 4  # pixels between before and after


def thumbnail(dst: Path, root: Path | None, line: JsonDict, width: int, height: int) -> Image | None:
    """Give the picture of a result, scaled down to fit into height × width; enlarged only if it was made from nothing.

    A picture that was made stands beside the one it was made from, or below it where both are larger then.
    dst: the job's output folder, where the overlay, the mask or the picture is looked for.
    root: the folder the image names start from; without an overlay the original is read there and drawn on.
    Returns (h, w, 3) uint8 RGB, or None if no picture can be read (any more).
    """
    if "picture" in line:
        return _before_and_after(dst, root, line, width, height)
    path = shown_path(dst, line)
    picture = _fitted(path, line, width, height) if path is not None else None
    if picture is None and root is not None:
        picture = _drawn_original(dst, root, line, width, height)
    return picture


def jpeg(picture: Image) -> bytes:
    """Encode a picture, (h, w, 3) uint8 RGB, as JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be encoded as JPEG")
    return data.tobytes()


def shown_file(line: JsonDict) -> str | None:
    """Name the file that shows a result at its full size: the picture that was made, or the overlay."""
    name = made_picture(line).get("file") if "picture" in line else line.get("overlay")
    return name if isinstance(name, str) and name else None


def shown_path(dst: Path, line: JsonDict) -> Path | None:
    """Where that file lies; None if there is none or it names one outside `dst`."""
    return _below(dst, shown_file(line))


def _below(folder: Path, name: object) -> Path | None:
    if not isinstance(name, str):
        return None
    path = folder / name
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def _before_and_after(dst: Path, root: Path | None, line: JsonDict, width: int, height: int) -> Image | None:
    import numpy as np

    made, original = shown_path(dst, line), _below(root, line["image"]) if root is not None else None
    if made is None:
        return None
    full_height, full_width = (max(1, int(line["picture"].get(side, 1))) for side in ("height", "width"))
    beside = ((width - _GAP) // 2, height)
    below = (width, (height - _GAP) // 2)
    room = max(beside, below, key=lambda area: min(area[0] / full_width, area[1] / full_height))
    before = _fitted(original, line, *room) if original is not None else None
    after = _fitted(made, line, *(room if before is not None else (width, height)), chequered=True)
    if after is not None and root is None:  # generators make pictures that are too small to look at
        factor = max(1, min(width // after.shape[1], height // after.shape[0]))
        return after.repeat(factor, axis=0).repeat(factor, axis=1)
    if before is None or after is None:
        return after
    across = 1 if room is beside else 0  # the axis along which they stand
    most = np.maximum(before.shape[:2], after.shape[:2])
    shape = most.copy()
    shape[across] = 2 * most[across] + _GAP
    both = np.full((*shape, 3), 255, np.uint8)
    for place, picture in ((0, before), (most[across] + _GAP, after)):
        corner = (most - picture.shape[:2]) // 2
        corner[across] += place
        both[corner[0] : corner[0] + picture.shape[0], corner[1] : corner[1] + picture.shape[1]] = picture
    return both


def _drawn_original(dst: Path, root: Path, line: JsonDict, width: int, height: int) -> Image | None:
    from pipelines.draw import draw, with_classes
    from pipelines.results import Labels, found_from_json

    path = _below(root, line["image"])
    mask = _semantic_mask(dst, line) if "segments" in line else None
    found = mask[0] if mask is not None else None if "segments" in line else found_from_json(line)
    if found is None or path is None:
        return None
    picture = _fitted(path, line, width, height)
    if picture is None or isinstance(found, Labels):  # a caption this small could not be read
        return picture
    if mask is not None:  # nor could a legend
        return with_classes(picture, mask[0], explained=False, palette=mask[1])
    size = (int(line["height"]), int(line["width"])) if "height" in line else picture.shape[:2]
    return draw(picture, size, found)


def _semantic_mask(dst: Path, line: JsonDict) -> tuple[SemanticMask, list[Colour]] | None:
    """Read a result's mask back, and its colours by class id; None if it is gone or no mask of this image."""
    import numpy as np
    from PIL import Image as PilImage
    from PIL.PngImagePlugin import PngImageFile

    from pipelines.results import SemanticMask

    path = _below(dst, line.get("mask"))
    if path is None:
        return None
    try:
        with PngImageFile(path) as opened:  # not Image.open, which libraries patch
            if opened.mode != "P" or opened.size != (line.get("width"), line.get("height")):
                return None
            class_map = np.array(opened)
            levels = [*(opened.getpalette("RGB") or ()), *bytes(768)][:768]
    except (OSError, ValueError, SyntaxError, PilImage.DecompressionBombError):
        return None
    names = {int(row["class_id"]): str(row["label"]) for row in line["segments"]}
    found = SemanticMask(class_map, tuple(names.get(class_id, "background") for class_id in range(256)))
    return found, list(zip(levels[::3], levels[1::3], levels[2::3], strict=True))


def _fitted(path: Path, line: JsonDict, width: int, height: int, *, chequered: bool = False) -> Image | None:
    """Decode a picture no larger than needed and fit it into height × width; None if it can't be read.

    chequered: what is transparent is shown as such, not as white.
    """
    import cv2
    import numpy as np

    from pipelines.errors import ImageError
    from pipelines.image import Limits, check_pixels, decode, probe, read_bytes

    # What the job accepted may be shown, whatever its limits were; they are not known here.
    limits = Limits(max_pixels=max(Limits().max_pixels, int(line.get("height", 0)) * int(line.get("width", 0))))
    try:
        data = read_bytes(path)
        header = probe(data)
        full_height, full_width = header.upright
        scale = min(width / full_width, height / full_height, 1.0)
        target = (max(1, round(full_height * scale)), max(1, round(full_width * scale)))
        if chequered and header.alpha:
            check_pixels(header, limits)
            return _on_chequers(data, target)
        picture = decode(data, limits, enough=target).pixels
    except ImageError:
        return None
    if picture.shape[:2] == target:
        return picture
    return np.asarray(cv2.resize(picture, target[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _on_chequers(data: bytes, target: tuple[int, int]) -> Image | None:
    import cv2
    import numpy as np

    from pipelines.draw import on_chequers

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
        return None
    return on_chequers(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA), np.uint8), target)
