"""The pictures on the report's page, each with what was found in it, and what filters them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from workers.lines import JsonDict, counted_rows, found_rows, made_picture, printable, said_of_picture, shown_score
from workers.markup import remark, text
from workers.tally import Tally
from workers.thumbnails import shown_file, shown_path

_CHIPS = 8  # labels under a picture


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the page.

    thumbnail: base64 of a JPEG, None if no picture could be read; size: its height and width.
    link: the overlay or the picture that was made, relative to the page, ready for an href; None if there is none.
    """

    line: JsonDict
    thumbnail: str | None
    size: tuple[int, int]
    link: str | None


def full_link(dst: Path, line: JsonDict) -> str | None:
    """Give the relative link to what shows a result in full, percent-encoded byte by byte; None if there is no file."""
    name, path = shown_file(line), shown_path(dst, line)
    try:
        return quote(os.fsencode(name)) if name is not None and path is not None and path.is_file() else None
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte: no file has this name
        return None


def class_colour(class_id: int, names: Sequence[str]) -> tuple[int, int, int]:
    """The colour of a class, as overlays and masks show it. names: all classes of a segmentation, else none."""
    from pipelines.palette import colour_of, mask_palette

    return mask_palette(names)[class_id] if class_id < len(names) else colour_of(class_id)


def gallery(total: Tally, pictures: list[Picture], names: Sequence[str] = ()) -> str:
    """The pictures, with what filters them. names: the model's classes."""
    if not pictures:
        return ""
    labels = sorted({str(row["label"]) for picture in pictures for row in counted_rows(picture.line)}, key=str.casefold)
    options = "".join(f'<option value="{text(label)}">{text(label)}</option>' for label in labels)
    shown = f"{len(pictures):,} of {total.ok:,} pictures, chosen evenly over the job."
    note = remark(shown) if len(pictures) < total.ok else ""
    figures = "\n".join(_figure_of(picture, names) for picture in pictures)
    return (
        '<section class="pictures" id="pictures"><div class="tools"><h2>Pictures</h2><span id="shown" role="status">'
        '</span><button type="button" id="clear" hidden>Show all</button>'
        f'<select id="label" aria-label="Filter by label"{"" if labels else " hidden"}>'
        f'<option value="">All labels</option>{options}</select>'
        f'<input id="text" type="search" placeholder="Search names{", labels" if labels else ""}" '
        'aria-label="Search names and labels"></div>'
        f'<div class="grid">{figures}</div><p id="empty" hidden>No picture fits this filter.</p>{note}</section>'
    )


def _figure_of(picture: Picture, names: Sequence[str]) -> str:
    line = picture.line
    folder, slash, name = str(line["image"]).rpartition("/")
    rows = found_rows(line)
    labels = sorted({str(row["label"]) for row in counted_rows(line)})
    chips = [_chip(line, row, count, names) for row, count in _grouped(_worth_showing(line, rows))]
    if len(chips) > _CHIPS:
        chips[_CHIPS:] = [f"<li><span>+{len(chips) - _CHIPS} labels</span></li>"]
    if "picture" in line:
        chips = [f"<li><span>{text(what)}</span> <b>{text(much)}</b></li>" for what, much in said_of_picture(line)]
    found = "".join(chips) or ("" if "picture" in line else '<li class="none">nothing found</li>')
    data = text(json.dumps([printable(label) for label in labels], ensure_ascii=False))
    searched = text(" ".join([str(line["image"]), *labels]))
    return (
        f'<figure class="picture" data-name="{text(line["image"])}" data-labels="{data}" data-text="{searched}">'
        f'{_image_of(picture)}<figcaption><bdi class="name"><small>{text(folder + slash)}</small>{text(name)}</bdi>'
        f'<ul class="found">{found}</ul></figcaption></figure>'
    )


def _grouped(rows: list[JsonDict]) -> list[tuple[JsonDict, int]]:
    """Give the best row of each label, and how often the label occurs."""
    best: dict[str, JsonDict] = {}
    counts: dict[str, int] = {}
    for row in rows:
        label = str(row["label"])
        best.setdefault(label, row)
        counts[label] = counts.get(label, 0) + 1
    return [(row, counts[label]) for label, row in best.items()]


def _worth_showing(line: JsonDict, rows: list[JsonDict]) -> list[JsonDict]:
    """Leave out labels of less than 1%, but never the first."""
    return [row for index, row in enumerate(rows) if index == 0 or "labels" not in line or row["score"] >= 0.01]


def _chip(line: JsonDict, row: JsonDict, count: int, names: Sequence[str]) -> str:
    red, green, blue = class_colour(int(row["class_id"]), names if "segments" in line else ())
    times = f" <em>×{count}</em>" if count > 1 else ""
    return (
        f'<li title="{text(row["label"])}"><i style="background:rgb({red} {green} {blue})"></i>'
        f"<span>{text(row['label'])}</span>{times} <b>{shown_score(line, row)}</b></li>"
    )


def _image_of(picture: Picture) -> str:
    if picture.thumbnail is None:
        return '<div class="blank">picture not there</div>'
    height, width = picture.size
    small = ' class="small"' if max(height, width) < 160 else ""
    source = f"data:image/jpeg;base64,{picture.thumbnail}"
    alt = text(picture.line["image"])
    image = f'<img{small} src="{source}" alt="{alt}" width="{width}" height="{height}" loading="lazy">'
    # Without a file the thumbnail is all there is to enlarge; the link still takes the keyboard's focus.
    target = f'href="{picture.link}" data-full="1"' if picture.link else 'href="#pictures"'
    target += ' data-alpha="1"' if made_picture(picture.line).get("channels") == 4 else ""
    return f"<a {target}>{image}</a>"
