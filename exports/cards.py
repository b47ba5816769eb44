"""The card of an exported network: everything the catalogue, the weights and the measurements say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from exports.build import Built
from exports.catalog.entry import Entry
from exports.gates import Precision
from pipelines.card import Card, InputSpec

_LIBRARIES = {"ours": "torch", "torchvision": "torchvision", "timm": "timm", "ultralytics": "ultralytics"}


def card_of(
    entry: Entry,
    built: Built,
    spec: InputSpec,
    precision: Precision,
    notes: Sequence[str] = (),
    name: str | None = None,
) -> Card:
    """The card before anything was measured.

    spec: the input as it was exported. notes: what the user should know, beyond the catalogue's own notes.
    """
    facts = entry.facts()
    official = facts.weights is not None and built.weights.sha256 is not None and not _own(built, facts.weights.file)
    figures = (
        [f"published {p.metric} {p.value:g} on {p.data} ({p.source})" for p in facts.published] if official else []
    )
    return Card(
        name=name or model_name(entry.name, precision),
        task=entry.task,
        family=entry.family,
        names=facts.names,
        input=spec,
        outputs=facts.outputs,
        decode=dict(facts.decode),
        defaults=_defaults(entry),
        precision=precision,
        weights=built.weights,
        notes=(*facts.notes, *figures, *notes),
        exporter=exporter(entry),
    )


def model_name(name: str, precision: Precision) -> str:
    """What the exported model is called, by default."""
    return name if precision == "fp32" else f"{name}-{precision}"


def exporter(entry: Entry | None = None) -> str:
    """The versions that made a file: ours, PyTorch's and the network's library."""
    parts = [f"pixelmill {_version('pixelmill')}"]
    if entry is not None:
        parts += [f"{name} {_version(name)}" for name in dict.fromkeys(("torch", _LIBRARIES[entry.library]))]
    return ", ".join(parts)


def with_findings(card: Card, parity: Mapping[str, Any], **more: Any) -> Card:
    """The card with what was measured."""
    return card.model_copy(update={"parity": dict(parity), **more})


def _own(built: Built, file: str) -> bool:
    """Whether the weights are a user's own: then no published figure holds for them."""
    return "/" not in built.weights.source and "(" not in built.weights.source and built.weights.source != file


def _defaults(entry: Entry) -> dict[str, float | int]:
    if entry.family == "torchvision-detection" or entry.family == "torchvision-instances":
        return {"score": 0.5}  # what torchvision's own examples draw; below it its detectors give many doubtful boxes
    return {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.1.0" if package == "pixelmill" else "unknown"
