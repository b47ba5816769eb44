"""`pixelmill adopt`: options become claims, the outcome becomes a table. The work is in `exports.adopt`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exports.adopt import Adopted, adopt, read_claims
from exports.export_command import progress
from pipelines.card import card_json
from pipelines.errors import ParameterError


def run(file: Path, options: Mapping[str, Any], *, as_json: bool) -> None:
    """Adopt and report."""
    with progress() as say:
        done = adopt(file, claims(options), out=options["out"], verify=options["verify"], say=say)
    if as_json:
        click.echo(json.dumps(to_json(done), indent=2, ensure_ascii=False))
    else:
        show(done)


def claims(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say about the model, in the card's own fields; options win over the YAML file.

    Raises ParameterError.
    """
    said = read_claims(options["card"]) if options["card"] else {}
    for name in ("task", "family"):
        if options[name]:
            said[name] = options[name]
    if options["names"]:
        said["names"] = options["names"]
    spec: dict[str, Any] = dict(said.get("input") or {})
    resize: dict[str, Any] = dict(spec.get("resize") or {})
    if options["colour"]:
        spec["colour"] = options["colour"]
    for name in ("mean", "std"):
        if options[name]:
            spec[name] = numbers(options[name], f"--{name}")
    if options["imgsz"]:
        spec["height"], spec["width"] = options["imgsz"]
    for option, key in (
        ("resize", "rule"),
        ("anchor", "anchor"),
        ("pad", "pad_value"),
        ("shorter_side", "shorter_side"),
        ("longer_side", "longer_side"),
        ("interpolation", "interpolation"),
        ("stride", "stride"),
    ):
        if options[option] is not None:
            resize[key] = options[option]
    if resize:
        spec["resize"] = resize
    if spec:
        said["input"] = spec
    if options["strides"]:
        said["decode"] = {
            **dict(said.get("decode") or {}),
            "strides": [int(n) for n in numbers(options["strides"], "--strides")],
        }
    weights = {key: options[key] for key in ("licence", "source") if options[key]}
    if weights:
        said["weights"] = {**dict(said.get("weights") or {}), **weights}
    return said


def numbers(text: str, option: str) -> list[float]:
    """`0,0,0` as numbers; one number stands for three channels. Raises ParameterError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(f"{option} {text!r} are no numbers: give them like 123.7,116.3,103.5") from error
    return found * 3 if len(found) == 1 and option in ("--mean", "--std") else found


def to_json(done: Adopted) -> dict[str, Any]:
    """The outcome as JSON types."""
    measured = done.accuracy
    return {
        "path": str(done.path),
        "seen": dict(done.seen),
        "verified_on": done.origin,
        "accuracy": None if measured is None else {"metric": measured.metric, "value": round(measured.value, 5),
                                                   "images": measured.images},
        "card": card_json(done.card),
    }  # fmt: skip


def show(done: Adopted) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console() if Console().is_terminal else Console(width=110)
    card = done.card
    table = Table(title=f"{card.name}: {card.task}, family {card.family}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("file", str(done.path))
    spec = card.input
    size = "any size" if spec.dynamic else f"{spec.height}×{spec.width}"
    table.add_row("input", f"{spec.name}: {spec.colour}, {size}, {spec.resize.rule}, (pixel − mean) / std")
    seen = ", ".join(f"{name} {count}" for name, count in list(done.seen.items())[:12]) or "nothing"
    table.add_row("seen", f"{seen} ({done.origin})")
    if done.accuracy:
        table.add_row(
            "accuracy", f"{done.accuracy.metric} {done.accuracy.value:.4f} on {done.accuracy.images} pictures"
        )
    table.add_row("licence", card.weights.licence)
    table.add_row("run it", f"pixelmill run {card.task} photos/ --model {done.path.stem} --out results/")
    console.print(table)
