"""COCO JSON: detections and instances in the format that pycocotools reads.

Ids start at 1, as in COCO itself. An image's id is the running number of its line among all lines of the results,
failed ones counted, so ids stay what they are when a failed image is mended later. A category's id is the model's class
id + 1: not the ids 1–90 of the COCO data set, even for a model trained on it; its names say what is what. pycocotools
takes an annotation with id 0 for no match, one more reason to start at 1.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.masks import PlacedMask
from pipelines.polygons import polygons

_JSON = json.JSONEncoder(separators=(",", ":"))
_SPOOLED_IN_MEMORY = 4 * 2**20  # bytes of annotations kept in memory before they go to a temporary file


def write_coco(
    lines: Iterable[Mapping[str, Any]],
    names: Sequence[str],
    out: BinaryIO,
    spool: Path | None = None,
    *,
    outlines: bool = False,
) -> None:
    """Write detections or instances as COCO JSON with `images`, `annotations` and `categories`.

    lines: what `Result.to_json` gives, one mapping an image, read once. A failed image is listed under `images` if its
        size is known, an image that could not even be opened is not. Lines without objects (labels) give no
        annotations.
    names: the model's class names, by class id.
    out: a binary file; memory stays flat, however many lines there are.
    spool: the folder for the annotations' temporary file (both lists are built at once, and one must wait); None takes
        the system's.
    outlines: an instance's `segmentation` is a list of polygons instead of compressed run lengths. Run lengths are
        exact and smaller; polygons are what people edit and what some training code insists on.

    An annotation's `bbox` is x, y, width, height in pixels of the upright original, `score` the detection's, `iscrowd`
    0. A detection's `area` is its box's, and it has no segmentation. An instance's `area` is the number of its pixels;
    one without any is written as run lengths in either case. Names that are no valid Unicode are escaped, as JSON
    allows.
    Raises ValueError for a class id without a name, OSError if the disk is full.
    """
    categories = [{"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(names)]
    folder = str(spool) if spool is not None else None
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_IN_MEMORY, dir=folder) as annotations:
        out.write(b'{"info":{"description":"Detections by Pixelmill"},"licenses":[],"categories":')
        out.write(_encode(categories))
        out.write(b',"images":[')
        images, written = 0, 0
        for image_id, line in enumerate(lines, start=1):
            if "height" not in line or "width" not in line:
                continue
            out.write((b",\n" if images else b"\n") + _encode(_image(image_id, line)))
            images += 1
            for row in (*line.get("detections", ()), *line.get("instances", ())):
                annotation = _annotation(written + 1, image_id, row, names, str(line["image"]))
                if "mask" in row:
                    annotation.update(_segmentation(row["mask"], outlines))
                annotations.write((b",\n" if written else b"\n") + _encode(annotation))
                written += 1
        out.write(b'\n],"annotations":[')
        annotations.seek(0)
        shutil.copyfileobj(annotations, out, 2**20)
        out.write(b"\n]}\n")


def _image(image_id: int, line: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": image_id, "file_name": line["image"], "height": line["height"], "width": line["width"]}


def _annotation(number: int, image_id: int, row: Mapping[str, Any], names: Sequence[str], image: str) -> dict[str, Any]:
    class_id = int(row["class_id"])
    if not 0 <= class_id < len(names):
        raise ValueError(
            f"{image!r} has class id {class_id}, the model has {len(names)} classes: 0 to {len(names) - 1}"
        )
    x1, y1, x2, y2 = row["box"]
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": class_id + 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "score": row["score"],
        "iscrowd": 0,
    }


def _segmentation(rle: Mapping[str, Any], outlines: bool) -> dict[str, Any]:
    mask = PlacedMask.from_rle(rle)
    parts = [part.ravel().tolist() for part in polygons(mask)] if outlines else []
    return {"segmentation": parts or dict(rle), "area": mask.area}


def _encode(value: object) -> bytes:
    return _JSON.encode(value).encode("ascii")
