"""What the two YOLOs for smears share: the catalogue's entry, fitted to the smears, and the figures of their boxes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exports.build import sized
from exports.catalog import Entry, find
from exports.libraries import library
from exports.recipes import bccd
from exports.recipes.accuracy import Truth, box_map
from pipelines.card import Quality
from pipelines.pipeline import build

if TYPE_CHECKING:
    from torch.nn import Module

METRIC = {"score": 0.001, "max_detections": 100}  # COCO's metric looks at the whole curve
JUDGED_BY = "the 87 validation smears of BCCD, never trained on"
LICENCE = "AGPL-3.0 (Ultralytics, for what its software trains; the pictures: MIT)"


def entry(base: str, name: str, size: int) -> Entry:
    """The catalogue's network `base` for the three kinds of blood cells, under the name the model gets.

    size: side in pixels of the picture it was trained on.
    """
    known = find(base)
    facts = replace(
        known.facts(), names=bccd.NAMES, input=sized(known, (size, size)), weights=None, published=(), notes=()
    )
    return replace(known, name=name, facts=lambda: facts, network=partial(_network, base))


def _network(base: str) -> Module:
    tasks = library("ultralytics.nn.tasks")
    build_network = tasks.SegmentationModel if base.endswith("-seg") else tasks.DetectionModel
    network: Module = build_network(f"{base}.yaml", ch=3, nc=len(bccd.NAMES), verbose=False)
    network.names = dict(enumerate(bccd.NAMES))  # type: ignore[assignment]  # what Ultralytics' exporter writes
    return network


def box_quality(model: Path, truths: list[Truth], measured_by: str) -> tuple[Quality, ...]:
    """Measure boxes through the product's pipeline: COCO's mAP, mAP50, and AP50 of every class."""
    mean, fifty = box_map(build(model, METRIC, provider="cpu"), truths)
    rows = [("box mAP (COCO, IoU 0.50:0.95)", mean), ("box mAP50", fifty)]
    for number, name in enumerate(bccd.NAMES):
        alone = build(model, {**METRIC, "classes": [name]}, provider="cpu")
        rows.append((f"box AP50, {name}", box_map(alone, [only(truth, number) for truth in truths])[1]))
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=JUDGED_BY, images=len(truths), measured_by=measured_by)
        for metric, value in rows
    )


def only(truth: Truth, class_id: int) -> Truth:
    """The objects of one class."""
    kept = np.flatnonzero(truth.class_ids == class_id)
    return replace(truth, boxes=truth.boxes[kept], class_ids=truth.class_ids[kept])
