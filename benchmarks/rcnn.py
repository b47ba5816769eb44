"""How many true boxes selective search meets, what it costs, and where R-CNN's time goes, on one core.

    python -m benchmarks.rcnn                      # a quarter of an hour; writes its tables into docs/rcnn.md
    python -m benchmarks.rcnn --photographs 16 --smears 4 --no-write

Times are processor time of the one thread that works, so other programs on the machine disturb them less than a clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import pipelines
from benchmarks.throughput import DATA, machine, write_between
from exports.recipes import bccd
from exports.recipes.accuracy import Truth, yolo_folder
from pipelines.card import InputSpec
from pipelines.geometry import iou
from pipelines.pipeline import Pipeline
from pipelines.rcnn import FAMILY
from pipelines.regions import TOGETHER, run_regions
from pipelines.selective import selective_search
from pipelines.types import Image, Tensor

DOCUMENT = Path(__file__).parent.parent / "docs" / "rcnn.md"
SIZES = {
    "all": (0, np.inf),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, np.inf),
}  # as COCO has them
SHARES = (0.01, 0.05)  # of the picture, at least: objects as large as those of VOC, where the method was published
LIMIT = 2000
STRATEGIES = ("single", "fast", "fine")


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of processor time a picture costs: proposing, cutting regions out, the bare session, and all of it."""

    search: float
    cutting: float
    network: float
    whole: float
    regions: int


def spread(truths: list[Truth], count: int) -> list[Truth]:
    """So many of them, evenly over the whole list."""
    return truths[:: max(1, len(truths) // count)][:count]


def recalls(truths: list[Truth], strategy: str) -> dict[str, float]:
    """Share of true boxes that a proposal meets by 0.5, by size; how many; seconds a picture; proposals a picture."""
    best: list[float] = []
    areas: list[float] = []
    shares: list[float] = []
    seconds, counts = [], []
    for truth in truths:
        pixels = cv2.imread(str(truth.path), cv2.IMREAD_COLOR_RGB)
        started = time.thread_time()
        boxes = selective_search(pixels, strategy, LIMIT)
        seconds.append(time.thread_time() - started)
        counts.append(len(boxes))
        area = np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1)
        best += iou(truth.boxes, boxes).max(axis=1).tolist()
        areas += area.tolist()
        shares += (area / np.prod(truth.size)).tolist()
    met, area, share = np.array(best) >= 0.5, np.array(areas), np.array(shares)
    groups = {name: (area >= least) & (area < most) for name, (least, most) in SIZES.items()}
    groups |= {f"{least:.0%}": share >= least for least in SHARES}
    found = {name: float(met[here].mean()) if here.any() else float("nan") for name, here in groups.items()}
    found |= {f"{name} count": float(here.sum()) for name, here in groups.items()}
    return found | {"seconds": statistics.median(seconds), "most": max(seconds), "boxes": statistics.mean(counts)}


def recall_table(kinds: dict[str, list[Truth]]) -> str:
    """Recall and time of the strategies on each kind of picture, as Markdown."""
    sizes = (*SIZES, *(f"{least:.0%}" for least in SHARES))
    heads = ["recall", *list(SIZES)[1:], *(f"≥ {least:.0%} of the picture" for least in SHARES)]
    lines = [
        f"At most {LIMIT:,} proposals, IoU 0.5, all pictures about 640×480; small: below 32×32 pixels, medium: below "
        f"96×96; in brackets how many objects; processor time of one thread; {machine()}.",
        "",
        f"| pictures | strategy | proposals | {' | '.join(heads)} | s, median (most) |",
        "| --- | --- | --- |" + " --- |" * (len(heads) + 1),
    ]
    for kind, truths in kinds.items():
        for strategy in STRATEGIES:
            m = recalls(truths, strategy)
            shares = " | ".join("–" if np.isnan(m[s]) else f"{m[s]:.2f} ({m[f'{s} count']:.0f})" for s in sizes)
            lines.append(
                f"| {len(truths)} {kind} | {strategy} | {m['boxes']:.0f} | {shares} | {m['seconds']:.2f} "
                f"({m['most']:.2f}) |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def parts(pipeline: Pipeline, pixels: Image, limit: int) -> Parts:
    """Take one picture through an R-CNN part by part, and as a whole."""
    spec = pipeline.card.input
    shapes = [(3, *output.shape[1:]) for output in pipeline.session.run(_batch(spec, 3))]
    marks = [time.thread_time()]
    boxes = selective_search(pixels, "fast", limit)
    marks.append(time.thread_time())
    nothing = [np.zeros(shape, np.float32) for shape in shapes]
    run_regions(pixels, boxes, spec, lambda _: nothing)  # all but the network
    marks.append(time.thread_time())
    for start in range(0, len(boxes), TOGETHER):
        pipeline.session.run(_batch(spec, min(TOGETHER, len(boxes) - start)))
    marks.append(time.thread_time())
    pipeline(pixels)
    marks.append(time.thread_time())
    search, cutting, network, whole = np.diff(marks).tolist()
    return Parts(search, cutting, network, whole, len(boxes))


def _batch(spec: InputSpec, count: int) -> Tensor:
    return np.zeros((count, 3, spec.height, spec.width), np.float32)


def time_table(smears: Sequence[Truth]) -> str:
    """Where a picture's time goes, as Markdown."""
    lines = [
        f"{len(smears)} smears, 640×480, medians, processor time of one thread; {machine()}.",
        "",
        "| proposals | selective search | regions cut out and warped | through the network | one region | all of it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for limit in (LIMIT // 2, LIMIT):
        pipeline = pipelines.load("smears-rcnn", {"proposals": limit}, provider="cpu")
        if pipeline.card.family != FAMILY:
            sys.exit("smears-rcnn is no R-CNN")
        rows = [parts(pipeline, cv2.imread(str(t.path), cv2.IMREAD_COLOR_RGB), limit) for t in smears]
        search, cutting, network, whole, one = np.median(
            [(r.search, r.cutting, r.network, r.whole, r.network / r.regions * 1000) for r in rows], axis=0
        )
        lines.append(
            f"| {limit:,} | {search:.2f} s | {cutting:.2f} s | {network:.2f} s | {one:.1f} ms | {whole:.2f} s |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=128)
    parser.add_argument("--smears", type=int, default=12)
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/rcnn.md")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photographs = [t for t in yolo_folder(DATA / "coco128" / "images", DATA / "coco128" / "boxes") if len(t.boxes)]
    smears = spread(list(bccd.truths(bccd.load("val", DATA / "bccd"))), options.smears)
    kinds = {"photographs (coco128)": spread(photographs, options.photographs), "smears (bccd, val)": smears}
    tables = {"recall": recall_table(kinds), "time": time_table(smears)}
    for name, text in tables.items():
        print(f"\n{text}")
        if not options.no_write:
            write_between(DOCUMENT, name, text)


if __name__ == "__main__":
    main()
