"""YOLO's text files: a folder that Ultralytics takes as a data set, boxes or outlines.

    data.yaml          class names, and where the rest is; `yolo train data=…/data.yaml` takes it
    classes.txt        the class names alone, one a line, as labelling programs want them
    labels/x/a.txt     a line an object: class id, then its box or its outline in fractions of the picture's size
    images/x/a.jpg     a link to the picture

Class ids are the model's own. Scores have no place in these files: choose with `--score`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.formats.placing import claim, legible, link, stems
from pipelines.masks import PlacedMask
from pipelines.polygons import joined, polygons

_DIGITS = 6  # after the point: a hundredth of a pixel of a picture 10,000 pixels wide


def write_yolo(lines: Iterable[Mapping[str, Any]], names: Sequence[str], folder: Path, root: Path) -> bool:
    """Write detections or instances as YOLO's text files.

    lines: what `Result.to_json` gives, one mapping an image, read once. A picture in which nothing was found has an
        empty file, a failed one has none, and no link either.
    names: the model's class names, by class id.
    folder: an empty folder. root: the folder the images' names are relative to.

    An instance is written as one outline: parts and holes hang together by cuts without width, as in the files that
    Ultralytics converts itself. One without any pixel is left out.
    Returns whether all pictures could be linked. Raises OSError if a file can't be written.
    """
    labels, images = folder / "labels", folder / "images"
    labels.mkdir()
    images.mkdir()
    (folder / "data.yaml").write_bytes(_data_yaml(names))
    (folder / "classes.txt").write_bytes("".join(f"{legible(name)}\n" for name in names).encode())
    linked = True
    for line in lines:
        if line.get("status") != "ok":
            continue
        image = str(line["image"])
        # Ultralytics finds labels by the last folder named images in a picture's path
        stem = claim(labels, stems(image, avoid="images"), ".txt", yolo_text(line).encode("ascii"))
        linked &= link(images / (stem + PurePosixPath(legible(image)).suffix), root, image)
    return linked


def yolo_text(line: Mapping[str, Any]) -> str:
    """Give the text for one image: a line an object, no line for none."""
    height, width = int(line["height"]), int(line["width"])
    rows = [_box_row(row, height, width) for row in line.get("detections", ())]
    for row in line.get("instances", ()):
        parts = polygons(PlacedMask.from_rle(row["mask"]))
        if parts:
            fractions = (joined(parts) / (width, height)).ravel().tolist()
            rows.append(" ".join([str(row["class_id"]), *map(_fraction, fractions)]))
    return "".join(f"{row}\n" for row in rows)


def _box_row(row: Mapping[str, Any], height: int, width: int) -> str:
    x1, y1, x2, y2 = row["box"]
    values = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
    return " ".join([str(row["class_id"]), *map(_fraction, values)])


def _fraction(value: float) -> str:
    return f"{min(1.0, max(0.0, value)):.{_DIGITS}f}".rstrip("0").rstrip(".")


def _data_yaml(names: Sequence[str]) -> bytes:
    # a string of JSON is one of YAML
    rows = [f"  {class_id}: {json.dumps(legible(name), ensure_ascii=False)}\n" for class_id, name in enumerate(names)]
    head = "# Found by Pixelmill. Both sets are all pictures: divide them before you train and measure.\n"
    return f"{head}train: images\nval: images\nnames:\n{''.join(rows)}".encode()
