"""How many true boxes selective search meets, what it costs, and where R-CNN's time goes, on one core.

    python -m benchmarks.rcnn                      # some minutes; writes its tables into docs/rcnn.md
    python -m benchmarks.rcnn --photographs 16 --smears 4 --no-write

Times are processor time of the one thread that works, so other programs on the machine disturb them less than a clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

import pipelines
from benchmarks.throughput import DATA, machine, write_between
from exports.recipes import bccd
from exports.recipes.accuracy import Truth, yolo_folder
from pipelines.geometry import iou
from pipelines.rcnn import FAMILY
from pipelines.regions import TOGETHER, run_regions
from pipelines.selective import selective_search

DOCUMENT = Path(__file__).parent.parent / "docs" / "rcnn.md"
SIZES = {
    "all": (0, np.inf),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, np.inf),
}  # as COCO has them
LIMIT = 2000


def spread(truths: list[Truth], count: int) -> list[Truth]:
    """So many of them, evenly over the whole list."""
    return truths[:: max(1, len(truths) // count)][:count]


def recalls(truths: list[Truth], strategy: str) -> dict[str, float]:
    """Share of true boxes that a proposal meets by 0.5, by size; seconds a picture; proposals a picture."""
    best, areas, seconds, counts = [], [], [], []
    for truth in truths:
        pixels = cv2.imread(str(truth.path), cv2.IMREAD_COLOR_RGB)
        started = time.thread_time()
        boxes = selective_search(pixels, strategy, LIMIT)
        seconds.append(time.thread_time() - started)
        counts.append(len(boxes))
        best += iou(truth.boxes, boxes).max(axis=1).tolist()
        areas += np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1).tolist()
    met, area = np.array(best) >= 0.5, np.array(areas)
    found = {}
    for name, (least, most) in SIZES.items():
        here = (area >= least) & (area < most)
        found[name] = float(met[here].mean()) if here.any() else float("nan")
    return found | {"seconds": statistics.median(seconds), "most": max(seconds), "boxes": statistics.mean(counts)}


def recall_table(kinds: dict[str, list[Truth]]) -> str:
    """Recall and time of the strategies on each kind of picture, as Markdown."""
    lines = [
        f"At most {LIMIT:,} proposals, IoU 0.5, all pictures about 640×480; {machine()}.",
        "",
        "| pictures | strategy | proposals | recall | small | medium | large | s, median (most) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, truths in kinds.items():
        for strategy in ("single", "fast"):
            m = recalls(truths, strategy)
            shares = " | ".join("–" if np.isnan(m[size]) else f"{m[size]:.2f}" for size in SIZES)
            lines.append(
                f"| {len(truths)} {kind} | {strategy} | {m['boxes']:.0f} | {shares} | {m['seconds']:.2f} "
                f"({m['most']:.2f}) |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def time_table(smears: list[Truth]) -> str:
    """Where a picture's time goes, as Markdown; and the regions' way against the bare session."""
    lines = [
        f"{len(smears)} smears, 640×480, medians, one thread; {machine()}.",
        "",
        "| proposals | selective search | regions through the network | of which the bare session | whole picture |",
        "| --- | --- | --- | --- | --- |",
    ]
    pipeline = pipelines.load("smears-rcnn", provider="cpu")
    if pipeline.card.family != FAMILY:
        sys.exit("smears-rcnn is no R-CNN")
    run, spec = pipeline.session.run, pipeline.card.input
    for limit in (LIMIT // 2, LIMIT):
        rows = []
        whole = pipelines.load("smears-rcnn", {"proposals": limit}, provider="cpu")
        for truth in smears:
            pixels = cv2.imread(str(truth.path), cv2.IMREAD_COLOR_RGB)
            marks = [time.thread_time()]
            boxes = selective_search(pixels, "fast", limit)
            marks.append(time.thread_time())
            run_regions(pixels, boxes, spec, run)
            marks.append(time.thread_time())
            batch = np.zeros((TOGETHER, 3, spec.height, spec.width), np.float32)
            for _ in range(len(boxes) // TOGETHER):
                run(batch)
            marks.append(time.thread_time())
            whole(pixels)
            marks.append(time.thread_time())
            rows.append(np.diff(marks) * (1, 1, len(boxes) / (len(boxes) // TOGETHER * TOGETHER), 1))
        search, regions, bare, total = np.median(rows, axis=0)
        lines.append(
            f"| {limit:,} | {search:.2f} s | {regions:.2f} s | {bare:.2f} s ({bare / regions:.2f}) | {total:.2f} s |"
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
