"""Reading `results.jsonl`: one line at a time, never the whole file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

JsonDict: TypeAlias = dict[str, Any]

RESULTS = "results.jsonl"

# Control characters and lone surrogates (bytes of a file name that were no UTF-8) can't be shown or encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def result_lines(dst: Path) -> Iterator[JsonDict]:
    """Give the results of the job whose output folder is `dst`, in the file's order.

    Raises FileNotFoundError without the file and ValueError, with its number, for a line that is not a JSON object.
    """
    with (dst / RESULTS).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                line = json.loads(raw)
            except ValueError as error:
                raise ValueError(f"line {number} of {dst / RESULTS} is not JSON: {error}") from error
            if not isinstance(line, dict):
                raise ValueError(f"line {number} of {dst / RESULTS} must be an object, it is {type(line).__name__}")  # noqa: TRY004
            yield line


def count_lines(dst: Path) -> int:
    """Count the results of a job without reading what they say."""
    with (dst / RESULTS).open("rb") as file:
        return sum(1 for raw in file if raw.strip())


def found_rows(line: JsonDict) -> list[JsonDict]:
    """Give the objects or labels of a result, best first, or its classes but the background, largest first.

    None for a failed image, and for one whose result is a picture.
    """
    if "segments" in line:
        from pipelines.palette import is_background

        classes = [row for row in line["segments"] if not is_background(str(row["label"]))]
        return sorted(classes, key=lambda row: -row["share"])
    rows: list[JsonDict] = line.get("detections") or line.get("instances") or line.get("labels") or []
    return sorted(rows, key=lambda row: -row["score"])


def counted_rows(line: JsonDict) -> list[JsonDict]:
    """Give the rows a picture is counted and found by: all its objects or classes, or the first of its labels."""
    rows = found_rows(line)
    return rows[:1] if "labels" in line else rows


def shown_score(line: JsonDict, row: JsonDict) -> str:
    """Write a number as people read it: a probability or a share of the pixels in per cent, an object's score as is."""
    if "segments" in line:
        return shown_share(row["share"])
    return f"{row['score']:.1%}" if "labels" in line else f"{row['score']:.2f}"


def shown_share(share: float) -> str:
    """Write a share in [0, 1] in per cent."""
    from pipelines import legend

    return legend.shown_share(share)


def made_picture(line: JsonDict) -> JsonDict:
    """Give what a result says about the picture that was made; empty if none was."""
    picture = line.get("picture")
    return picture if isinstance(picture, dict) else {}


def said_of_picture(line: JsonDict) -> list[tuple[str, str]]:
    """Give what is worth saying about a picture that was made, as (what, how much): its class, parts and their size."""
    made = made_picture(line)
    shares = [
        (name.removesuffix("_share").replace("_", " "), shown_share(share) if share else "none")
        for name, share in made.items()
        if name.endswith("_share") and isinstance(share, int | float)
    ]
    return [("class", printable(str(made["class"]))), *shares] if "class" in made else shares


def evenly(count: int, limit: int) -> set[int]:
    """Choose at most `limit` of the indices 0 … count − 1, spread evenly, the first among them."""
    shown = min(count, max(limit, 0))
    return {index * count // shown for index in range(shown)}


def printable(text: str) -> str:
    """Replace what can't be shown: control characters and lone surrogates become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)
