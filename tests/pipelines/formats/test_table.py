"""Tables, as the csv module and Arrow read them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from pipelines.formats.kinds import SAID, Kind
from pipelines.formats.table import COLUMNS, write_csv, write_parquet
from pipelines.masks import PlacedMask
from pipelines.results import RenderedPicture, SemanticMask
from tests.pipelines.formats.made_lines import NAMES, detections, disc, instances, labels, line

ODD = 'a, "b"\nc;\t.jpg'
FOUND: dict[Kind, Any] = {
    "labels": labels((2, 0.75), (0, 0.25)),
    "detections": detections((2, 0.75, (1, 2, 30.5, 40)), (0, 0.25, (0, 0, 200, 120))),
    "instances": instances((2, 0.75, disc(60, 60, 20)), (0, 0.25, disc(100, 60, 10))),
    "segments": SemanticMask(np.repeat(np.uint8([[2, 0]]), [90, 30], axis=1), NAMES),
    "picture": RenderedPicture(np.zeros((4, 6, 3), np.uint8), {"person_share": 0.5}),
}


def lines_of(kind: Kind) -> list[dict[str, Any]]:
    good, odd, broken = line("a.jpg", FOUND[kind]), line(ODD, FOUND[kind]), line("broken.jpg", None)
    if kind == "segments":
        good["mask"] = "masks/a.jpg.png"
    if kind == "picture":
        good["picture"]["file"] = "pictures/a.jpg"
    return [good, broken, odd]


def read_csv(lines: list[dict[str, Any]], kind: Kind) -> list[dict[str, str]]:
    out = io.BytesIO()
    write_csv(lines, kind, out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode("utf-8"), newline="")))


def read_parquet(lines: list[dict[str, Any]], kind: Kind) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    write_parquet(lines, kind, out)
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(out.getvalue())).to_pylist()
    return rows


@pytest.mark.parametrize("kind", SAID)
def test_a_row_an_object_and_one_for_a_failed_picture(kind: Kind) -> None:
    count = 1 if kind == "picture" else 2

    rows = read_csv(lines_of(kind), kind)

    assert list(rows[0]) == list(COLUMNS[kind])
    assert [row["image"] for row in rows] == ["a.jpg"] * count + ["broken.jpg"] + [
        ODD.replace("\n", "\ufffd").replace("\t", "\ufffd")
    ] * count
    assert (rows[count]["status"], rows[count]["error"]) == ("failed", "truncated")
    assert not any(rows[count][column] for column in COLUMNS[kind] if column not in ("image", "status", "error"))


@pytest.mark.parametrize("kind", SAID)
def test_parquet_says_the_same_as_csv_with_types(kind: Kind) -> None:
    typed, text = read_parquet(lines_of(kind), kind), read_csv(lines_of(kind), kind)

    assert [{c: "" if v is None else str(v) for c, v in row.items()} for row in typed] == text


def test_what_stands_in_the_columns_is_what_was_found() -> None:
    by_kind = {kind: read_parquet(lines_of(kind), kind)[0] for kind in SAID}

    best = {"label": "größe 日本", "class_id": 2, "score": 0.75}
    assert by_kind["labels"].items() >= {**best, "rank": 1}.items()
    assert by_kind["detections"].items() >= {**best, "x1": 1.0, "y1": 2.0, "x2": 30.5, "y2": 40.0}.items()
    size = [by_kind["instances"]["height"], by_kind["instances"]["width"]]
    mask = PlacedMask.from_rle({"size": size, "counts": by_kind["instances"]["mask"]})
    assert np.array_equal(mask.whole((120, 200)), disc(60, 60, 20))
    assert by_kind["segments"].items() >= {"pixels": 90, "share": 0.75, "mask": "masks/a.jpg.png"}.items()
    assert by_kind["picture"]["file"] == "pictures/a.jpg"
    assert json.loads(by_kind["picture"]["facts"]) == {"height": 4, "width": 6, "channels": 3, "person_share": 0.5}


@pytest.mark.parametrize("found", [labels(), detections(), instances()])
def test_a_picture_in_which_nothing_was_found_has_one_row(found: Any) -> None:
    kind: Kind = next(k for k in SAID if type(FOUND[k]) is type(found))

    (row,) = read_parquet([line("a.jpg", found)], kind)

    assert (row["image"], row["status"], row["label"], row["score"]) == ("a.jpg", "ok", None, None)


@pytest.mark.parametrize("kind", SAID)
def test_no_line_at_all_is_a_table_without_rows(kind: Kind) -> None:
    assert read_csv([], kind) == []
    assert read_parquet([], kind) == []


def test_arrow_reads_the_csv_into_the_same_types() -> None:
    arrow_csv = pytest.importorskip("pyarrow.csv")
    out = io.BytesIO()
    write_csv(lines_of("detections"), "detections", out)

    table = arrow_csv.read_csv(io.BytesIO(out.getvalue()))

    assert {name: str(table.schema.field(name).type) for name in ("class_id", "score", "x1")} == {
        "class_id": "int64", "score": "double", "x1": "double",
    }  # fmt: skip
    assert table.column("x2").to_pylist() == [30.5, 200, None, 30.5, 200]


def test_a_group_of_rows_is_smaller_where_rows_are_large_and_none_is_lost() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    one = line("a.jpg", FOUND["instances"])
    large = {
        **one,
        "instances": [{**row, "mask": {"size": [120, 200], "counts": "x" * 50_000}} for row in one["instances"]],
    }
    out = io.BytesIO()

    write_parquet([large] * 100, "instances", out)

    file = parquet.ParquetFile(io.BytesIO(out.getvalue()))
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
    assert sum(sizes) == 200
    assert max(sizes) <= 80  # 4 MB of 50,000 bytes each
