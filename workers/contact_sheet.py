"""The contact sheet: a job at a glance, in one picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from workers.atomic import write_atomically
from workers.lines import (
    JsonDict,
    count_lines,
    evenly,
    found_rows,
    made_picture,
    printable,
    result_lines,
    said_of_picture,
    shown_score,
)
from workers.thumbnails import jpeg, thumbnail

if TYPE_CHECKING:
    from pipelines.palette import Colour
    from pipelines.types import Image

CONTACT_SHEET = "contact-sheet.jpg"

_TILE_WIDTH, _TILE_HEIGHT = 256, 192
_STRIP_HEIGHT = 96  # of a tile as wide as four, for film strips
_STRIP = 4  # times as wide as high is what counts as one
_GAP, _MARGIN, _TITLE = 20, 32, 56
_TEXT, _TITLE_TEXT = 15, 26
_LINE = 20
_GROUND: Colour = (250, 250, 248)
_MAT: Colour = (236, 236, 232)
_FAILED: Colour = (214, 214, 210)
_INK: Colour = (28, 30, 34)
_MUTED: Colour = (108, 112, 118)
_ALARM: Colour = (168, 40, 32)


def write_contact_sheet(dst: Path, limit: int = 60, root: Path | None = None) -> Path | None:
    """Write `contact-sheet.jpg` into the job's output folder: a grid of its pictures with name and top label.

    limit: the most tiles; a larger job is sampled evenly from its first to its last result.
    root: the folder the image names start from, read where a result has no overlay.
    Returns the file, or None if the job has no result.
    """
    total = count_lines(dst)
    chosen = evenly(total, limit)
    if not chosen:
        return None
    lines = [line for index, line in enumerate(result_lines(dst)) if index in chosen]
    sheet = _sheet(dst, root, lines, total)
    path = dst / CONTACT_SHEET
    with write_atomically(path) as file:
        file.write(jpeg(sheet))
    return path


def _sheet(dst: Path, root: Path | None, lines: list[JsonDict], total: int) -> Image:
    import numpy as np

    from pipelines.text import fit, put_text

    strips = all(_is_strip(line) for line in lines)
    tile_width = 4 * _TILE_WIDTH + 3 * _GAP if strips else _TILE_WIDTH
    tile_height = _STRIP_HEIGHT if strips else _TILE_HEIGHT
    columns = 1 if strips else _columns(len(lines))
    rows = math.ceil(len(lines) / columns)
    cell_width, cell_height = tile_width + _GAP, tile_height + 2 * _LINE + 8 + _GAP
    width = 2 * _MARGIN + columns * cell_width - _GAP
    height = 2 * _MARGIN + _TITLE + rows * cell_height - _GAP
    sheet = np.empty((height, width, 3), np.uint8)
    sheet[...] = _GROUND
    title = fit(_title(lines, total), _TITLE_TEXT, width - 2 * _MARGIN)
    put_text(sheet, title, _TITLE_TEXT, _MARGIN - 6, _MARGIN, _INK)
    for index, line in enumerate(lines):
        row, column = divmod(index, columns)
        y, x = _MARGIN + _TITLE + row * cell_height, _MARGIN + column * cell_width
        _tile(sheet, dst, root, line, (y, x, tile_height, tile_width))
    return sheet


def _is_strip(line: JsonDict) -> bool:
    picture = made_picture(line)
    return int(picture.get("width", 0)) >= _STRIP * int(picture.get("height", 1))


def _columns(count: int) -> int:
    """Columns of a grid about 1.5 times as wide as high, at least two so that the title has room."""
    ratio = 1.5 * (_TILE_HEIGHT + 2 * _LINE + 8 + _GAP) / (_TILE_WIDTH + _GAP)
    return max(2, min(count, math.ceil(math.sqrt(count * ratio))))


def _title(lines: list[JsonDict], total: int) -> str:
    first = lines[0]
    parts = [str(first.get("pipeline", "")), str((first.get("model") or {}).get("name", ""))]
    shown = f"{len(lines):,} of {total:,}" if len(lines) < total else f"{total:,}"
    parts.append(f"{shown} {'image' if total == 1 else 'images'}")
    return printable("  ·  ".join(part for part in parts if part))


def _tile(sheet: Image, dst: Path, root: Path | None, line: JsonDict, place: tuple[int, int, int, int]) -> None:
    """Show a result. place: y, x, height and width of the tile."""
    from pipelines.text import fit, put_text

    y, x, tile_height, tile_width = place
    mat = sheet[y : y + tile_height, x : x + tile_width]
    if line.get("status") != "ok":
        mat[...] = _FAILED
        _reason(mat, line)
    else:
        mat[...] = _MAT
        picture = thumbnail(dst, root, line, tile_width, tile_height)
        if picture is None:
            _centred(mat, "picture not there", tile_height // 2 - _LINE // 2, _MUTED)
        else:
            height, width = picture.shape[:2]
            top, left = (tile_height - height) // 2, (tile_width - width) // 2
            mat[top : top + height, left : left + width] = picture
    name = printable(str(line["image"]).rpartition("/")[2])
    text_y = y + tile_height + 6
    put_text(sheet, fit(name, _TEXT, tile_width), _TEXT, text_y, x, _INK)
    put_text(sheet, _found(line), _TEXT, text_y + _LINE, x, _MUTED)


def _found(line: JsonDict) -> str:
    """What was found, in one line that fits a tile; a long label is shortened, never its score."""
    from pipelines.text import fit, text_width

    if line.get("status") != "ok":
        return "failed"
    if "picture" in line:
        size = "{width}×{height}".format_map({"width": "?", "height": "?", **made_picture(line)})
        said = [much if what == "class" else f"{what} {much}" for what, much in said_of_picture(line)]
        return fit(" · ".join(said if "class" in made_picture(line) else [size, *said]), _TEXT, _TILE_WIDTH)
    rows = found_rows(line)
    if not rows:
        return "nothing found"
    more = f"  +{len(rows) - 1}" if "labels" not in line and len(rows) > 1 else ""
    score = f"  {shown_score(line, rows[0])}{more}"
    return fit(printable(str(rows[0]["label"])), _TEXT, _TILE_WIDTH - text_width(score, _TEXT)) + score


def _reason(mat: Image, line: JsonDict) -> None:
    """Write why an image failed into its tile: the code, then the sentence over a few lines."""
    error = line.get("error") or {}
    rows = wrap(printable(str(error.get("message", ""))), _TEXT, _TILE_WIDTH - 24, 5)
    top = (_TILE_HEIGHT - (len(rows) + 1) * _LINE - 6) // 2
    _centred(mat, str(error.get("code", "failed")).replace("_", " "), top, _ALARM)
    for index, row in enumerate(rows):
        _centred(mat, row, top + 6 + (index + 1) * _LINE, _INK)


def _centred(mat: Image, text: str, y: int, colour: Colour) -> None:
    from pipelines.text import fit, put_text, text_width

    text = fit(text, _TEXT, mat.shape[1] - 16)
    put_text(mat, text, _TEXT, y, (mat.shape[1] - text_width(text, _TEXT)) // 2, colour)


def wrap(text: str, size: int, width: int, limit: int) -> list[str]:
    """Break text into at most `limit` lines of at most `width` pixels, the last one ellipsised if need be."""
    from pipelines.text import fit, text_width

    words = text.split()
    rows: list[str] = []
    while words and len(rows) < limit:
        taken = 1
        while taken < len(words) and text_width(" ".join(words[: taken + 1]), size) <= width:
            taken += 1
        taken = len(words) if len(rows) == limit - 1 else taken
        rows.append(fit(" ".join(words[:taken]), size, width))
        words = words[taken:]
    return rows
