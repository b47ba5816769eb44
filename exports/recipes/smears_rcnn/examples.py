"""The regions of the training smears and their features, computed once and kept.

    nice -n 10 python -m exports.recipes.smears_rcnn.examples SCRATCH [PART OF]

A run that was cut off goes on where it was; several, each with another part, share the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from exports.recipes import bccd
from exports.recipes.smears_rcnn.backbone import backbone, exported, region_input
from pipelines.geometry import iou
from pipelines.image import Limits, decode
from pipelines.regions import run_regions
from pipelines.selective import Strategy, selective_search
from pipelines.types import Boxes, FloatArray

EVERY = 2  # of the training smears, the first and every second
# half the hierarchies of "fast": what is learnt is what a region looks like, and for that there are enough
STRATEGIES = (Strategy("hsv", 50), Strategy("lab", 100))
_NEAR = 0.5  # IoU: every proposal that meets a cell so well is kept
_OTHERS = 160  # further proposals of a smear, drawn by chance


@dataclass(frozen=True, slots=True)
class Examples:
    """Regions of one smear: its annotated cells first, then proposals.

    features: (N, 5488) float16. boxes: (N, 4) float32. overlap: (N, G) float32, IoU with each annotated cell.
    truth: (G, 4) float32 and class_ids: (G,) int64, those cells.
    """

    features: NDArray[np.float16]
    boxes: Boxes
    overlap: FloatArray
    truth: Boxes
    class_ids: NDArray[np.int64]


def collected(smears: Sequence[bccd.Smear], scratch: Path, part: int = 0, of: int = 1) -> list[Examples]:
    """Give the examples of every `of`-th smear from `part` on; those not yet in `scratch` are computed."""
    folder = scratch / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    session: ort.InferenceSession | None = None
    found = []
    for number, smear in enumerate(smears):
        if number % of != part:
            continue
        kept = folder / f"{smear.path.stem}.npz"
        if not kept.exists():
            session = session or _session()
            half = kept.with_name(f"{kept.stem}.part.npz")
            boxes, features = _computed(smear, number, session)
            np.savez(half, boxes=boxes, features=features)
            half.replace(kept)
            print(f"{number + 1} of {len(smears)}: {smear.path.stem}", flush=True)
        with np.load(kept) as archive:
            ids = np.array([bccd.LABELS.index(label) for label in smear.labels], np.int64)
            overlap = iou(archive["boxes"], smear.boxes)
            found.append(Examples(archive["features"], archive["boxes"], overlap, smear.boxes, ids))
    return found


def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(exported(backbone()).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _computed(smear: bccd.Smear, seed: int, session: ort.InferenceSession) -> tuple[Boxes, NDArray[np.float16]]:
    pixels = decode(smear.path.read_bytes(), Limits()).pixels
    proposals = selective_search(pixels, STRATEGIES)
    near = iou(proposals, smear.boxes).max(axis=1, initial=0) >= _NEAR
    others = np.flatnonzero(~near)
    drawn = np.random.default_rng(seed).choice(others, min(_OTHERS, len(others)), replace=False)
    boxes = np.concatenate([smear.boxes, proposals[near], proposals[np.sort(drawn)]])
    (features,) = run_regions(pixels, boxes, region_input(), lambda batch: session.run(None, {"regions": batch}))
    return boxes, features.astype(np.float16)


if __name__ == "__main__":
    part, of = (int(value) for value in sys.argv[2:4]) if len(sys.argv) > 2 else (0, 1)
    collected(bccd.load("train")[::EVERY], Path(sys.argv[1]), part, of)
