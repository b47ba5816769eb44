"""The parts of the report's page, each a function that gives safe HTML.

Everything that comes from outside (file names, labels, messages, parameters) passes `text`, and nothing else reaches
the page.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workers.lines import JsonDict, found_rows, printable, shown_score
from workers.tally import Tally
from workers.thumbnails import overlay_path

_BARS = 12  # labels in the chart
_CHIPS = 8  # labels under a picture


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the page.

    thumbnail: base64 of a JPEG, None if no picture could be read; size: its height and width.
    link: the overlay, relative to the page, ready for an href; None without overlay.
    """

    line: JsonDict
    thumbnail: str | None
    size: tuple[int, int]
    link: str | None


def text(value: object) -> str:
    """Escape anything for HTML text and quoted attributes; what can't be shown becomes U+FFFD."""
    return html.escape(printable(str(value)), quote=True)


def overlay_link(dst: Path, line: JsonDict) -> str | None:
    """Give the relative link to a result's overlay, percent-encoded byte by byte; None if there is no such file."""
    path = overlay_path(dst, line)
    try:
        return quote(os.fsencode(str(line["overlay"]))) if path is not None and path.is_file() else None
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte: no file has this name
        return None


def title(summary: Mapping[str, Any]) -> str:
    """The page's title: pipeline, model, date."""
    model = (summary.get("model") or {}).get("name", "")
    return text(" · ".join(str(p) for p in (summary.get("pipeline"), model, _date(summary.get("started"))) if p))


def heading(summary: Mapping[str, Any]) -> str:
    """The page's heading: what was done."""
    model = (summary.get("model") or {}).get("name")
    return text(summary.get("pipeline", "Results")) + (f" with {text(model)}" if model else "")


def subtitle(summary: Mapping[str, Any]) -> str:
    """When, and over what."""
    parts = [_date(summary.get("started"))]
    if summary.get("root"):
        parts.append(str(summary["root"]))
    return " · ".join(f"<bdi>{text(part)}</bdi>" for part in parts if part)


def notice(summary: Mapping[str, Any]) -> str:
    """A word on a run that was interrupted."""
    if not summary.get("interrupted"):
        return ""
    return (
        '<p class="notice">This run was interrupted before all images were done. '
        "Run the same command again: it goes on where it stopped.</p>"
    )


def numbers(summary: Mapping[str, Any], total: Tally) -> str:
    """The summary in large figures."""
    failed = int(summary.get("failed", total.failed))
    cells = [(f"{int(summary.get('done', total.ok)):,}", "images done", "")]
    cells.append((f"{failed:,}", "failed", " alarm" if failed else ""))
    if not total.classified:
        cells.append((f"{total.objects:,}", "objects found", ""))
    if summary.get("images_per_second") is not None:
        cells.append((_figure(float(summary["images_per_second"])), "images per second", ""))
    if summary.get("seconds") is not None:
        cells.append((_duration(float(summary["seconds"])), "duration", ""))
    if summary.get("kept"):
        cells.append((f"{int(summary['kept']):,}", "kept from earlier runs", ""))
    return "\n".join(f'<div class="number{kind}"><b>{text(n)}</b><span>{text(w)}</span></div>' for n, w, kind in cells)


def chart(total: Tally, pictures: list[Picture]) -> str:
    """How often each label was found, as bars that filter the pictures."""
    if not total.labels:
        return ""
    from pipelines.palette import colour_of

    shown = {str(row["label"]) for picture in pictures for row in _labelling(picture.line)}
    ranked = sorted(total.labels.items(), key=lambda item: (-item[1], item[0]))
    most = ranked[0][1]
    rows = []
    for label, count in ranked[:_BARS]:
        red, green, blue = colour_of(total.class_ids[label])
        cells = (
            f'<span class="name" title="{text(label)}"><bdi>{text(label)}</bdi></span>'
            f'<span><span class="fill" style="width:{100 * count / most:.1f}%;background:rgb({red} {green} {blue})">'
            f'</span></span><span class="count">{count:,}</span>'
        )
        if label in shown:
            row = f'<button type="button" class="row" data-label="{text(label)}" aria-pressed="false">{cells}</button>'
        else:
            row = f'<div class="row">{cells}</div>'
        rows.append(f"<li>{row}</li>")
    rest = ranked[_BARS:]
    more = (
        f'<p class="note">and {_count(len(rest), "more label")}, {sum(n for _, n in rest):,} times</p>' if rest else ""
    )
    name = "Pictures by top label" if total.classified else "Objects by label"
    return f'<section class="panel"><h2>{name}</h2><ul class="chart">{"".join(rows)}</ul>{more}</section>'


def timings(total: Tally) -> str:
    """Median and 95th percentile of each stage."""
    if not total.stages:
        return ""
    figures = [(stage, q.at(0.5), q.at(0.95)) for stage, q in total.stages.items()]
    most = max(median for _, median, _ in figures)
    rows = "".join(
        f'<tr><td class="stage">{text(stage)}</td>'
        f'<td class="share"><i style="width:{100 * median / most:.1f}%"></i></td>'
        f'<td class="n">{_figure(median)}</td><td class="n">{_figure(p95)}</td></tr>'
        for stage, median, p95 in figures
    )
    return (
        '<section class="panel"><h2>Time per image, in ms</h2><table><thead><tr><th>Stage</th><th></th>'
        f'<th class="n">median</th><th class="n">p95</th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def facts(summary: Mapping[str, Any]) -> str:
    """Model, provider, parameters and times, for whoever wants to do it again."""
    model = summary.get("model") or {}
    rows: list[tuple[str, str]] = []
    if model.get("name"):
        rows.append(("Model", text(model["name"])))
    if model.get("sha256"):
        digest = text(model["sha256"])
        rows.append(("Checksum", f'<code title="SHA-256 {digest}">{text(str(model["sha256"])[:12])}</code>'))
    if summary.get("provider"):
        rows.append(("Provider", text(summary["provider"])))
    for name, value in (summary.get("params") or {}).items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        rows.append((text(str(name).replace("_", " ")), text(shown)))
    rows += [
        (name, text(_moment(summary[key])))
        for name, key in (("Started", "started"), ("Finished", "finished"))
        if summary.get(key)
    ]
    return "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)


def gallery(total: Tally, pictures: list[Picture]) -> str:
    """The pictures, with what filters them."""
    if not pictures:
        return ""
    labels = sorted({str(row["label"]) for picture in pictures for row in _labelling(picture.line)}, key=str.casefold)
    options = "".join(f'<option value="{text(label)}">{text(label)}</option>' for label in labels)
    shown = f"{len(pictures):,} of {total.ok:,} pictures, chosen evenly over the job."
    note = _note(shown) if len(pictures) < total.ok else ""
    figures = "\n".join(_figure_of(picture) for picture in pictures)
    return (
        '<section class="pictures" id="pictures"><div class="tools"><h2>Pictures</h2><span id="shown" role="status">'
        '</span><button type="button" id="clear" hidden>Show all</button>'
        f'<select id="label" aria-label="Filter by label"><option value="">All labels</option>{options}</select>'
        '<input id="text" type="search" placeholder="Search names, labels" aria-label="Search names and labels"></div>'
        f'<div class="grid">{figures}</div><p id="empty" hidden>No picture fits this filter.</p>{note}</section>'
    )


def failures(total: Tally, shown: list[JsonDict]) -> str:
    """The images that gave nothing, each with its code and its reason."""
    if not shown:
        return ""
    tags = "".join(
        f"<li>{text(code.replace('_', ' '))} · {count:,}</li>" for code, count in total.failures.most_common()
    )
    rows = "".join(
        f"<tr><td><bdi>{text(line['image'])}</bdi></td><td><code>{text((line.get('error') or {}).get('code', ''))}"
        f"</code></td><td>{text((line.get('error') or {}).get('message', ''))}</td></tr>"
        for line in shown
    )
    note = _note(f"The first {len(shown):,} of {total.failed:,} failures.") if len(shown) < total.failed else ""
    return (
        f'<section class="panel failures"><h2>{_count(total.failed, "image")} failed</h2><ul class="tags">{tags}</ul>'
        "<table><thead><tr><th>File</th><th>Code</th><th>Reason</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{note}</section>"
    )


def footer(total: Tally) -> str:
    """Where the numbers come from."""
    return (
        f"Made by Pixelmill from {_count(total.total, 'result')}"
        ' in <a href="results.jsonl">results.jsonl</a>. Quantiles are exact to 0.2%.'
    )


def _figure_of(picture: Picture) -> str:
    line = picture.line
    folder, slash, name = str(line["image"]).rpartition("/")
    rows = found_rows(line)
    labels = sorted({str(row["label"]) for row in _labelling(line)})
    chips = [_chip(line, row, count) for row, count in _grouped(_worth_showing(line, rows))]
    if len(chips) > _CHIPS:
        chips[_CHIPS:] = [f"<li><span>+{len(chips) - _CHIPS} labels</span></li>"]
    found = "".join(chips) or '<li class="none">nothing found</li>'
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
    return [row for index, row in enumerate(rows) if index == 0 or "detections" in line or row["score"] >= 0.01]


def _chip(line: JsonDict, row: JsonDict, count: int) -> str:
    from pipelines.palette import colour_of

    red, green, blue = colour_of(int(row["class_id"]))
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
    # Without an overlay the thumbnail is all there is to enlarge; the link still takes the keyboard's focus.
    target = f'href="{picture.link}" data-full="1"' if picture.link else 'href="#pictures"'
    return f"<a {target}>{image}</a>"


def _labelling(line: JsonDict) -> list[JsonDict]:
    """The rows that count for a picture: all detections, or the first label."""
    rows = found_rows(line)
    return rows[:1] if "labels" in line else rows


def _note(sentence: str) -> str:
    return f'<p class="note">{sentence} All results are in <a href="results.jsonl">results.jsonl</a>.</p>'


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _date(value: object) -> str:
    try:
        moment = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return str(value)
    return f"{moment.day} {moment:%B %Y, %H:%M}" if moment else ""


def _moment(value: object) -> str:
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return str(value)
