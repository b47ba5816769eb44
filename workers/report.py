"""The report: one HTML page that holds all it needs, made when a job closes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from workers import report_parts as parts
from workers import report_pictures
from workers.atomic import write_atomically
from workers.lines import JsonDict, evenly, result_lines
from workers.tally import Tally, tally
from workers.thumbnails import jpeg, thumbnail

REPORT = "report.html"

_THUMBNAIL_WIDTH, _THUMBNAIL_HEIGHT = 360, 270
_FAILURES = 500  # rows of the table of failures


def write_report(dst: Path, summary: Mapping[str, Any], limit: int = 200) -> Path:
    """Write `report.html` into the job's output folder.

    dst: the output folder; `results.jsonl` and the overlays are read from it.
    summary: what the job knows of itself: pipeline, root, model {name, sha256}, params, provider, done, failed,
        failed_by_code, images_per_second, seconds, started, finished (ISO 8601), kept, interrupted, names (the
        model's classes). What is missing is left out of the page.
    limit: the most pictures shown; a larger job is sampled evenly. Failures are listed up to 500.
    Returns the file. Raises OSError if it can't be written, ValueError for a broken line in `results.jsonl`.
    """
    total = tally(result_lines(dst))
    pictures, failures = _chosen(dst, summary, evenly(total.ok, limit))
    page = _page(summary, total, pictures, failures)
    path = dst / REPORT
    with write_atomically(path) as file:
        file.write(page.encode("utf-8"))
    return path


def _chosen(
    dst: Path, summary: Mapping[str, Any], chosen: set[int]
) -> tuple[list[report_pictures.Picture], list[JsonDict]]:
    """Give the chosen ones of the images that went well, with their thumbnails, and the first failures."""
    root = Path(str(summary["root"])) if summary.get("root") else None
    pictures: list[report_pictures.Picture] = []
    failures: list[JsonDict] = []
    good = 0
    for line in result_lines(dst):
        if line.get("status") != "ok":
            if len(failures) < _FAILURES:
                failures.append(line)
            continue
        if good in chosen:
            pictures.append(_picture(dst, root, line))
        good += 1
    return pictures, failures


def _picture(dst: Path, root: Path | None, line: JsonDict) -> report_pictures.Picture:
    small = thumbnail(dst, root, line, _THUMBNAIL_WIDTH, _THUMBNAIL_HEIGHT)
    encoded = base64.b64encode(jpeg(small)).decode("ascii") if small is not None else None
    size = (small.shape[0], small.shape[1]) if small is not None else (0, 0)
    return report_pictures.Picture(line, encoded, size, report_pictures.full_link(dst, line))


def _page(
    summary: Mapping[str, Any], total: Tally, pictures: list[report_pictures.Picture], failures: list[JsonDict]
) -> str:
    folder = files("workers") / "page"
    names = tuple(summary.get("names") or ())
    script = (folder / "script.js").read_text("utf-8").strip()
    # The page's own script and no other may run, whatever a file name tries: its hash stands in the page's policy.
    digest = hashlib.sha256(f"\n{script}\n".encode()).digest()
    return Template((folder / "page.html").read_text("utf-8")).substitute(
        script=script,
        script_hash=f"sha256-{base64.b64encode(digest).decode('ascii')}",
        style=(folder / "style.css").read_text("utf-8").strip(),
        title=parts.title(summary),
        heading=parts.heading(summary),
        subtitle=parts.subtitle(summary),
        notice=parts.notice(summary),
        numbers=parts.numbers(summary, total),
        chart=parts.chart(total, pictures, names),
        timings=parts.timings(total),
        facts=parts.facts(summary),
        pictures=report_pictures.gallery(total, pictures, names),
        failures=parts.failures(total, failures),
        footer=parts.footer(total),
    )
