"""`pixelmill models`: what can run, and how far to trust it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

if TYPE_CHECKING:
    from pipelines.card import Card


class _Noted(BaseModel):
    """What an export noted beside weights it fetched."""

    network: str | None = None
    task: str | None = None
    published: list[str] = []
    licence: str | None = None


@click.command(
    epilog="""\b
Examples:
  pixelmill models
  pixelmill models --task detect
  pixelmill models ssd-mobilenet-v2          # the whole card
  pixelmill models ssd-mobilenet-v2 --json
  pixelmill models ./my-yolo.onnx
"""
)
@click.argument("name", required=False)
@click.option("--task", help="Only models for this task.")
@click.option("--shipped", is_flag=True, help="Only the models that come with Pixelmill.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(name: str | None, task: str | None, shipped: bool, as_json: bool) -> None:
    """List the models known by name: shipped ones, your own exports, and those in PIXELMILL_MODELS; then the networks
    whose weights are cached and only wait for `pixelmill export`.

    With NAME (or the path of an .onnx file) print its whole card: source, licence, training data, measured quality,
    agreement with the network it was exported from.
    """
    if name is not None:
        _show_one(name, as_json)
        return
    from pipelines.errors import ModelError

    rows: list[dict[str, Any]] = []
    broken: list[str] = []
    for path, where in _files():
        if shipped and where != "shipped":
            continue
        try:
            row = _row(path, where)
        except ModelError as error:
            broken.append(str(error))
            continue
        if task is None or row["task"] == task:
            rows.append(row)
    if not shipped:
        rows += [row for row in _cached() if task is None or row["task"] == task]
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows)
    for reason in broken:
        click.echo(f"not usable: {reason}", err=True)


def _files() -> list[tuple[Path, str]]:
    from pipelines.catalog import SHIPPED, model_files, user_models

    places = {SHIPPED: "shipped", user_models(): "exported"}
    return [(path, places.get(path.parent, str(path.parent))) for path in model_files()]


def _row(path: Path, where: str) -> dict[str, Any]:
    from pipelines.card import model_checksum, read_card
    from pipelines.catalog import PIPELINES

    card = read_card(path)
    return {
        "name": path.stem,
        "task": card.task,
        "pipelines": [entry.name for entry in PIPELINES.values() if card.task in entry.tasks],
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "precision": card.precision,
        "classes": len(card.names),
        "input": _input(card),
        "quality": [f"{quality.metric} {quality.value:g}" for quality in card.quality],
        "published": [],
        "licence": card.weights.licence,
        "where": where,
        "path": str(path),
        "sha256": model_checksum(path),
    }


def _cached() -> list[dict[str, Any]]:
    """Weights that exports fetched, from the notes that lie beside them (`exports.cached`)."""
    from pipelines.folders import weights_folder

    rows = []
    for path in sorted(weights_folder().glob("*")):
        if path.suffix in (".json", ".part") or not path.is_file():
            continue
        try:
            noted = _Noted.model_validate_json(path.with_name(path.name + ".json").read_bytes())
        except (OSError, ValueError):  # put there by hand and not used yet, or damaged
            noted = _Noted()
        rows.append(
            {
                "name": noted.network or path.name,
                "task": noted.task,
                "pipelines": [],
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "precision": None,
                "classes": None,
                "input": None,
                "quality": [],
                "published": noted.published,
                "licence": noted.licence,
                "where": "cached weights",
                "path": str(path),
                "sha256": None,
            }
        )
    return rows


def _input(card: Card) -> str:
    size = f"{card.input.width}×{card.input.height}"
    return f"≤ {size}" if card.input.dynamic else size


def _show_one(name: str, as_json: bool) -> None:
    from pipelines.card import card_json, model_checksum, read_card
    from pipelines.catalog import find_model

    path = find_model(name)
    card = read_card(path)
    if as_json:
        _print_json({**card_json(card), "path": str(path), "file_sha256": model_checksum(path)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    names = ", ".join(card.names[:12]) + (f" … {len(card.names)} in all" if len(card.names) > 12 else "")
    resize, seen = card.input.resize, card.task != "generate"
    facts: list[tuple[str, str]] = [
        ("model", card.name),
        ("task", f"{card.task} (family {card.family})"),
        ("file", f"{path}, {path.stat().st_size / 1e6:.1f} MB, {card.precision}"),
        ("sha256", model_checksum(path)),
        ("classes", names or "none"),
        ("input", f"{_input(card)} {card.input.colour}, {resize.rule}, {resize.interpolation}" if seen else "noise"),
        ("defaults", ", ".join(f"{key} {value:g}" for key, value in card.defaults.items()) or "the pipeline's"),
        ("source", card.weights.source),
        ("licence", card.weights.licence),
        ("training data", card.weights.training_data or "not stated"),
        *((f"quality: {q.metric}", f"{q.value:g} on {q.images:,} images: {q.data}") for q in card.quality),
        *((f"parity: {key.replace('_', ' ')}", _plain(value)) for key, value in card.parity.items() if value != []),
        *(("note", note) for note in card.notes),
        ("made by", card.exporter),
    ]
    for label, fact in facts:
        table.add_row(f"[bold]{label}[/bold]", fact)
    Console().print(table)


def _plain(value: Any) -> str:
    """A value of the card's JSON as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{key.replace('_', ' ')} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("model", "runs in", "MB", "classes", "input", "accuracy", "licence", "where"):
        right = heading in ("MB", "classes")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading == "model", overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            ", ".join(row["pipelines"]) or (f"({row['task']})" if row["task"] else ""),
            f"{row['megabytes']:.1f}",
            str(row["classes"] or ""),
            row["input"] or "",
            _accuracy(row),
            (row["licence"] or "").partition(" ")[0].rstrip(";,"),
            row["where"],
        )
    console = Console()
    console.print(table)
    console.print(
        "\n[dim]pixelmill models NAME prints a whole card, pixelmill run PIPELINE SRC --model NAME runs it; pixelmill "
        "export --list: what else can become a model, and whose weights are cached[/dim]"
    )


def _accuracy(row: dict[str, Any]) -> str:
    """The first figure: measured here, or said by the network's makers."""
    if row["quality"]:
        return str(row["quality"][0])
    return f"published: {row['published'][0]}" if row["published"] else ""


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
