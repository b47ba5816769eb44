"""`pixelmill export --list`: every network of the catalogue, how good it is, and whether its weights are here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from exports.catalog import Entry, catalog
from exports.folders import mirror
from exports.weights import WeightSource
from pipelines.folders import weights_folder


@dataclass(frozen=True, slots=True)
class Listed:
    """A network, in words.

    weights: "cached", "in the mirror", "shipped", "in PACKAGE", "to install", "to download", or "none published".
    megabytes: of the weights, where they are on this machine. published: what its makers measured.
    """

    name: str
    task: str
    library: str
    weights: str
    megabytes: float | None
    needs_trust: bool
    published: tuple[str, ...]
    licence: str | None


def listing() -> list[Listed]:
    """Look at every entry of the catalogue, and for its weights on this machine; nothing is fetched or verified."""
    return [_listed(entry) for entry in catalog()]


def show(networks: Sequence[Listed], *, as_json: bool) -> None:
    """Print them as a table or as JSON."""
    if as_json:
        click.echo(json.dumps([asdict(one) for one in networks], indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console() if Console().is_terminal else Console(width=150)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("network", "task", "weights", "MB", "published", "licence"):
        table.add_column(heading, justify="right" if heading == "MB" else "left", no_wrap=heading != "published")
    for one in networks:
        size = "" if one.megabytes is None else f"{one.megabytes:.1f}"
        weights = f"{one.weights}, --trust" if one.needs_trust else one.weights
        licence = (one.licence or "").partition(" ")[0]
        table.add_row(one.name, one.task, weights, size, ", ".join(one.published), licence)
    console.print(table)
    console.print(
        f"\n[dim]{len(networks)} networks. pixelmill export NAME makes one a model, pixelmill describe NAME prints its "
        "layers, pixelmill models lists what can run already[/dim]"
    )


def _listed(entry: Entry) -> Listed:
    facts = entry.facts()
    source = facts.weights
    where, file = ("none published", None) if source is None else _place(source)
    return Listed(
        entry.name,
        entry.task,
        entry.library,
        where,
        round(file.stat().st_size / 1e6, 1) if file else None,
        bool(source and source.pickled),
        tuple(f"{figure.metric} {figure.value:.3f}" for figure in facts.published),
        source.licence if source else None,
    )


def _place(source: WeightSource) -> tuple[str, Path | None]:
    """Where `exports.weights.fetch` would find it first."""
    place = mirror()
    if place and (file := Path(place).expanduser() / source.file).is_file():  # an address is no file
        return "in the mirror", file
    if (file := weights_folder() / source.file).is_file():
        return "cached", file
    if source.bundled and (inside := source.bundled.locate()):
        return "shipped" if source.bundled.package == "pipelines" else f"in {source.bundled.package}", inside
    return ("to download" if source.url else "to install"), None
