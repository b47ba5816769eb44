"""`pixelmill export`: what the command prints. The work is in `exports.export`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from exports.export import Outcome, Request, Say, export
from pipelines.card import card_json

_QUIET_S = 2.0  # a step shorter than this is not worth a spinner


def run(request: Request, *, as_json: bool) -> None:
    """Export and report: steps on stderr, a table (or JSON) on stdout."""
    with progress() as say:
        outcome = export(request, say)
    if as_json:
        click.echo(json.dumps(to_json(outcome), indent=2, ensure_ascii=False))
    else:
        show(outcome)


@contextmanager
def progress() -> Iterator[Say]:
    """Say each step as it begins; a spinner turns beside it on a terminal. Nothing of it goes to stdout."""
    from rich.console import Console

    console = Console(stderr=True)
    status = console.status("") if console.is_terminal else None
    began = time.monotonic()

    def say(step: str) -> None:
        if status is not None:
            status.update(step)
            if time.monotonic() - began > _QUIET_S:
                status.start()
        else:
            console.print(step, style="dim", highlight=False)

    try:
        if status is not None:
            status.start()
        yield say
    finally:
        if status is not None:
            status.stop()


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON types."""
    return {
        "path": str(outcome.path),
        "size_bytes": outcome.size_bytes,
        "fp32_bytes": outcome.fp32_bytes,
        "speed_ms": {name: round(ms, 3) for name, ms in outcome.speed_ms.items()},
        "threads": outcome.threads,
        "seconds": dict(outcome.seconds),
        "verdict": outcome.verdict,
        "accuracy": {
            name: {"metric": a.metric, "value": round(a.value, 5), "images": a.images}
            for name, a in outcome.accuracy.items()
        },
        "notes": list(outcome.notes),
        "card": card_json(outcome.card),
    }


def show(outcome: Outcome) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console() if Console().is_terminal else Console(width=110)
    card = outcome.card
    weights = card.weights.source.rsplit("/", 1)[-1].rstrip(")")  # the file's name: `PACKAGE (FOLDER/FILE)`, or a URL
    table = Table(title=f"{card.name}: {card.task}, {card.precision}, weights {weights}",
                  title_justify="left", show_header=False)  # fmt: skip
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("file", str(outcome.path))
    table.add_row("size", _size(outcome))
    table.add_row("agreement with PyTorch", _agreement(outcome))
    for name, found in outcome.accuracy.items():
        table.add_row(f"accuracy {name}", f"{found.metric} {found.value:.4f} on {found.images} labelled pictures")
    table.add_row("speed", _speed(outcome))
    table.add_row("", outcome.verdict)
    table.add_row("licence", card.weights.licence)
    table.add_row("verified", f"{outcome.report.origin}; {_checks(outcome)}")
    for note in (*outcome.notes, *outcome.report.notes):
        table.add_row("note", note)
    if outcome.report.forced:
        table.add_row("[red]forced[/red]", "; ".join(outcome.report.broken))
    console.print(table)


def _size(outcome: Outcome) -> str:
    said = f"{outcome.size_bytes / 1e6:.1f} MB"
    if outcome.card.precision != "fp32":
        said += f" ({outcome.size_bytes / outcome.fp32_bytes:.0%} of fp32)"
    return said


def _agreement(outcome: Outcome) -> str:
    figures = outcome.report.figures
    said = []
    for name, words in (
        ("top1_agreement", "top-1 agrees {:.1%}"),
        ("matched", "{:.1%} of detections matched"),
        ("equal_pixels", "{:.3%} of pixels equal"),
        ("cosine", "cosine {:.6f}"),
        ("mask_iou", "median mask IoU {:.3f}"),
        ("largest_difference", "largest difference {:.2g}"),
        ("box_difference_px", "largest box difference {:.2g} px"),
        ("score_difference", "largest score difference {:.2g}"),
        ("pixel_difference", "largest pixel difference {:.2g} of 255"),
    ):
        if name in figures:
            said.append(words.format(figures[name]))
    if "detections" in figures:
        said.append(f"{figures['detections']} detections from score {figures['score_threshold']:.3g}")
    return ", ".join(said) + f" ({figures['pictures']} pictures)"


def _speed(outcome: Outcome) -> str:
    times = outcome.speed_ms
    said = [f"{name} {ms:.1f} ms" for name, ms in times.items()]
    return f"{', '.join(said)} a picture, on {outcome.threads} thread, side by side"


def _checks(outcome: Outcome) -> str:
    checks = outcome.report.checks
    said = []
    if "batches" in checks:
        said.append("batches of " + ", ".join(str(size) for size in checks["batches"]))
    if "sizes" in checks:
        said.append("sizes " + ", ".join(checks["sizes"]))
    if "nothing_to_find" in checks:
        said.append("nothing to find")
    return "; ".join(said) or "no further checks"
