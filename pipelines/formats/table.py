"""Results as a table, for spreadsheets and data frames: CSV, or Parquet where there are millions of rows.

A row an object (a detection, an instance, a label, a class of a segmentation, a picture). An image in which nothing was
found has one row without an object, and so has a failed one, whose `error` says why: no image is lost.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Literal, TypeAlias

from pipelines.formats.kinds import Kind
from pipelines.formats.placing import legible

Type: TypeAlias = Literal["string", "int64", "float64"]
Row: TypeAlias = dict[str, str | int | float | None]

_IMAGE: dict[str, Type] = {
    "image": "string",
    "status": "string",
    "error": "string",
    "height": "int64",
    "width": "int64",
}
_OBJECT: dict[str, Type] = {"label": "string", "class_id": "int64", "score": "float64"}
_BOX: dict[str, Type] = {"x1": "float64", "y1": "float64", "x2": "float64", "y2": "float64"}

# The columns of each kind's table, in order.
COLUMNS: dict[Kind, dict[str, Type]] = {
    "labels": {**_IMAGE, "rank": "int64", **_OBJECT},
    "detections": {**_IMAGE, **_OBJECT, **_BOX},
    "instances": {**_IMAGE, **_OBJECT, **_BOX, "mask": "string"},
    "segments": {
        **_IMAGE,
        "label": "string",
        "class_id": "int64",
        "pixels": "int64",
        "share": "float64",
        "mask": "string",
    },
    "picture": {**_IMAGE, "file": "string", "facts": "string"},
}

# A row group of a Parquet file, which is held in memory: 20,000 rows, fewer where they hold masks of large pictures.
_GROUP_BYTES, _ROW_BYTES = 4_000_000, 200


def rows(lines: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Give the rows of a table.

    lines: what `Result.to_json` gives, one mapping an image.

    `rank` counts labels from 1. The `mask` of an instance is the `counts` of its compressed run lengths, whose size is
    the image's `height` and `width`; that of a segmentation is the PNG's name below the output folder. `facts` is JSON.
    What no text file can hold of a name is replaced by U+FFFD.
    """
    for line in lines:
        of_image: Row = {
            "image": legible(str(line["image"])),
            "status": line.get("status"),
            "error": (line.get("error") or {}).get("code"),
            "height": line.get("height"),
            "width": line.get("width"),
        }
        objects = list(_objects(line))
        yield from ({**of_image, **one} for one in objects or [{}])


def write_csv(lines: Iterable[Mapping[str, Any]], kind: Kind, out: BinaryIO) -> None:
    """Write a table as CSV (RFC 4180, UTF-8, one header line, an empty field for what there is not).

    lines, and what is in the columns: as for `rows`. out: a binary file; memory stays flat.
    """
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    try:
        table = csv.DictWriter(text, COLUMNS[kind], restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows(lines))
    finally:
        text.detach()


def write_parquet(lines: Iterable[Mapping[str, Any]], kind: Kind, out: BinaryIO) -> None:
    """Write a table as Parquet, with types; null for what there is not.

    lines, and what is in the columns: as for `rows`. out: a binary file; memory stays flat.
    Raises ImportError without pyarrow, which the extra `formats` brings.
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, getattr(pyarrow, type_)()) for name, type_ in COLUMNS[kind].items()])
    with parquet.ParquetWriter(out, schema) as file:
        for some in _groups(rows(lines)):
            file.write_table(pyarrow.Table.from_pylist(some, schema))


def _groups(every: Iterator[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    held = 0
    for row in every:
        some.append(row)
        held += _ROW_BYTES + len(str(row.get("mask", "")))
        if held >= _GROUP_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


def _objects(line: Mapping[str, Any]) -> Iterator[Row]:
    for rank, row in enumerate(line.get("labels", ()), start=1):
        yield {"rank": rank, **_found(row)}
    for row in (*line.get("detections", ()), *line.get("instances", ())):
        x1, y1, x2, y2 = row["box"]
        mask = row["mask"]["counts"] if "mask" in row else None
        yield {**_found(row), "x1": x1, "y1": y1, "x2": x2, "y2": y2, "mask": mask}
    for row in line.get("segments", ()):
        yield {**_found(row), "pixels": row["pixels"], "share": row["share"], "mask": line.get("mask")}
    if "picture" in line:
        facts = {name: value for name, value in line["picture"].items() if name != "file"}
        yield {"file": line["picture"].get("file"), "facts": json.dumps(facts)}


def _found(row: Mapping[str, Any]) -> Row:
    return {"label": legible(str(row["label"])), "class_id": row["class_id"], "score": row.get("score")}
