"""The parts of the report's page, each a function that gives safe HTML.

Everything that comes from outside (file names, labels, messages, parameters) passes `text`, and nothing else reaches
the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workers.lines import JsonDict, counted_rows, shown_share
from workers.markup import counted, date, duration, figure, moment, remark, text
from workers.report_pictures import Picture, class_colour
from workers.tally import Tally

_BARS = 12  # labels in the chart
_CHARTS = {
    "labels": "Pictures by top label",
    "objects": "Objects by label",
    "classes": "Share of the pixels by class",
    "pictures": "Pictures by label",
}


def title(summary: Mapping[str, Any]) -> str:
    """The page's title: pipeline, model, date."""
    model = (summary.get("model") or {}).get("name", "")
    return text(" · ".join(str(p) for p in (summary.get("pipeline"), model, date(summary.get("started"))) if p))


def heading(summary: Mapping[str, Any]) -> str:
    """The page's heading: what was done."""
    model = (summary.get("model") or {}).get("name")
    return text(summary.get("pipeline", "Results")) + (f" with {text(model)}" if model else "")


def subtitle(summary: Mapping[str, Any]) -> str:
    """When, and over what."""
    parts = [date(summary.get("started"))]
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
    if total.kind == "objects":
        cells.append((f"{total.objects:,}", "objects found", ""))
    elif total.kind == "classes":
        cells.append((f"{len(total.labels):,}", "classes found", ""))
    if summary.get("images_per_second") is not None:
        cells.append((figure(float(summary["images_per_second"])), "images per second", ""))
    if summary.get("seconds") is not None:
        cells.append((duration(float(summary["seconds"])), "duration", ""))
    if summary.get("kept"):
        cells.append((f"{int(summary['kept']):,}", "kept from earlier runs", ""))
    return "\n".join(f'<div class="number{kind}"><b>{text(n)}</b><span>{text(w)}</span></div>' for n, w, kind in cells)


def chart(total: Tally, pictures: list[Picture], names: tuple[str, ...] = ()) -> str:
    """How often each label was found, or how many of the pixels each class has, as bars that filter the pictures."""
    if not total.labels:
        return ""
    shown = {str(row["label"]) for picture in pictures for row in counted_rows(picture.line)}
    ranked = sorted(total.labels.items(), key=lambda item: (-item[1], item[0]))
    most = ranked[0][1]
    rows = []
    for label, count in ranked[:_BARS]:
        red, green, blue = class_colour(total.class_ids[label], names if total.kind == "classes" else ())
        cells = (
            f'<span class="name" title="{text(label)}"><bdi>{text(label)}</bdi></span>'
            f'<span><span class="fill" style="width:{100 * count / most:.1f}%;background:rgb({red} {green} {blue})">'
            f'</span></span><span class="count">{_amount(total, count)}</span>'
        )
        if label in shown:
            row = f'<button type="button" class="row" data-label="{text(label)}" aria-pressed="false">{cells}</button>'
        else:
            row = f'<div class="row">{cells}</div>'
        rows.append(f"<li>{row}</li>")
    rest = ranked[_BARS:]
    left = sum(n for _, n in rest)
    much = _amount(total, left) if total.kind == "classes" else f"{left:,} times"
    more = f'<p class="note">and {counted(len(rest), "more label")}, {much}</p>' if rest else ""
    name = _CHARTS[total.kind]
    return f'<section class="panel"><h2>{name}</h2><ul class="chart">{"".join(rows)}</ul>{more}</section>'


def _amount(total: Tally, count: int) -> str:
    """Write what a bar stands for: a number of pictures or objects, or a class's share of all pixels."""
    return text(shown_share(count / max(1, total.pixels))) if total.kind == "classes" else f"{count:,}"


def timings(total: Tally) -> str:
    """Median and 95th percentile of each stage."""
    if not total.stages:
        return ""
    figures = [(stage, q.at(0.5), q.at(0.95)) for stage, q in total.stages.items()]
    most = max(median for _, median, _ in figures)
    rows = "".join(
        f'<tr><td class="stage">{text(stage)}</td>'
        f'<td class="share"><i style="width:{100 * median / most:.1f}%"></i></td>'
        f'<td class="n">{figure(median)}</td><td class="n">{figure(p95)}</td></tr>'
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
        if value is None or value == []:  # what was not set
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        rows.append((text(str(name).replace("_", " ")), text(shown)))
    rows += [
        (name, text(moment(summary[key])))
        for name, key in (("Started", "started"), ("Finished", "finished"))
        if summary.get(key)
    ]
    return "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)


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
    note = remark(f"The first {len(shown):,} of {total.failed:,} failures.") if len(shown) < total.failed else ""
    return (
        f'<section class="panel failures"><h2>{counted(total.failed, "image")} failed</h2><ul class="tags">{tags}</ul>'
        "<table><thead><tr><th>File</th><th>Code</th><th>Reason</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{note}</section>"
    )


def footer(total: Tally) -> str:
    """Where the numbers come from."""
    return (
        f"Made by Pixelmill from {counted(total.total, 'result')}"
        ' in <a href="results.jsonl">results.jsonl</a>. Quantiles are exact to 0.2%.'
    )
