"""LabelMe's JSON, a file an image: to look at what was found and to correct it by hand.

    labels.txt   class names, one a line
    x/a.json     what was found in x/a.jpg
    x/a.jpg      a link to the picture

`labelme labelme/ --labels labelme/labels.txt` opens the folder: LabelMe looks for pictures in it, and beside each for a
file of its name. The files name the pictures where they really are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.formats.placing import claim, legible, link, stems, way_to
from pipelines.masks import PlacedMask
from pipelines.polygons import polygons

_VERSION = "5.5.0"  # the LabelMe whose files these are like


def write_labelme(lines: Iterable[Mapping[str, Any]], names: Sequence[str], folder: Path, root: Path) -> bool:
    """Write detections as rectangles, instances as polygons.

    lines: what `Result.to_json` gives, one mapping an image, read once. A picture in which nothing was found has a file
        without a shape, a failed one has none.
    names: the model's class names.
    folder: an empty folder. root: the folder the images' names are relative to; pictures are named by the way to them.
    Returns whether all pictures could be linked. Raises OSError if a file can't be written.
    """
    (folder / "labels.txt").write_bytes("".join(f"{legible(name)}\n" for name in names).encode())
    linked = True
    for line in lines:
        if line.get("status") == "ok":
            image = str(line["image"])
            stem = claim(folder, stems(image), ".json", partial(_content, line, folder, root))
            linked &= link(folder / (stem + PurePosixPath(legible(image)).suffix), root, image)
    return linked


def labelme_json(line: Mapping[str, Any], picture: str) -> dict[str, Any]:
    """Give the document for one image.

    picture: the way from the document's folder to the picture, or the picture's absolute path.

    Points are x y in pixels of the upright original, which is how LabelMe shows it. The parts of an instance share a
    `group_id`, holes are cut in as `polygons` does; an instance without any pixel is its box. `score` is an addition
    that LabelMe keeps.
    """
    shapes = [_shape(row, "rectangle", _corners(row)) for row in line.get("detections", ())]
    for number, row in enumerate(line.get("instances", ()), start=1):
        parts = polygons(PlacedMask.from_rle(row["mask"]))
        group = number if len(parts) > 1 else None
        shapes += [_shape(row, "polygon", part.tolist(), group) for part in parts]
        if not parts:
            shapes.append(_shape(row, "rectangle", _corners(row)))
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": line["height"],
        "imageWidth": line["width"],
    }


def _content(line: Mapping[str, Any], folder: Path, root: Path, name: str) -> bytes:
    picture = way_to(root, str(line["image"]), (folder / name).parent)
    return json.dumps(labelme_json(line, picture), indent=1).encode() + b"\n"


def _corners(row: Mapping[str, Any]) -> list[list[float]]:
    x1, y1, x2, y2 = row["box"]
    return [[x1, y1], [x2, y2]]


def _shape(row: Mapping[str, Any], kind: str, points: list[list[float]], group: int | None = None) -> dict[str, Any]:
    return {
        "label": row["label"],
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
        "score": row["score"],
    }
