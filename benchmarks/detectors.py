"""The original R-CNN, Faster R-CNN and YOLO on the same held-out smears: accuracy, time, memory, proposals, size.

    python -m benchmarks.detectors --scratch FOLDER    # ten minutes, mostly R-CNN's; writes into docs/detectors.md
    python -m benchmarks.detectors --scratch FOLDER --smears 6 --no-write

What was found is kept in the scratch folder by the fingerprint of model and parameters, so a second run only measures
time and memory. Times are processor time of the one thread that works (decoded pixels in, objects out); the three take
turns, smear by smear.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from pycocotools.cocoeval import COCOeval

import pipelines
from benchmarks.rcnn import parts, spread
from benchmarks.throughput import DATA, machine, write_between
from exports.recipes import bccd
from exports.recipes.accuracy import Truth, evaluated
from exports.recipes.smears_rcnn.recipe import METRIC, found_in
from pipelines.catalog import SHIPPED, find_model
from pipelines.draw import draw
from pipelines.image import Limits, decode
from pipelines.pipeline import Pipeline, Prepared, build
from pipelines.results import Detections
from pipelines.tensor import Workspace
from pipelines.types import Image

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "detectors.md"
PICTURE = DOCUMENT.with_suffix(".jpg")
MODELS = {"original R-CNN": "smears-rcnn", "Faster R-CNN": "smears-fasterrcnn", "YOLO11n": "smears-yolo"}
SIZES = ("all", "small", "medium", "large")  # as pycocotools has them: below 32², below 96², the rest
SHOWN = "BloodImage_00014"  # of the held-out ones, with all three kinds of cells
_AT = {"AP": slice(None), "AP50": 0}  # of the ten overlaps 0.50, 0.55 … 0.95


@dataclass(frozen=True, slots=True)
class Cost:
    """milliseconds a smear (median, least, most), megabytes of a process that detects, proposals a smear, file's MB."""

    milliseconds: tuple[float, float, float]
    megabytes: float
    proposals: float
    file: float


def precision(evaluation: COCOeval, measure: str, class_id: int | None, size: str) -> float:
    """Average precision of a class (None: the mean of those that have such objects) and a size; NaN without objects."""
    values = evaluation.eval["precision"][_AT[measure], :, :, SIZES.index(size), -1]
    chosen = values if class_id is None else values[..., class_id]
    return float(chosen[chosen > -1].mean()) if (chosen > -1).any() else float("nan")


def accuracy_table(evaluations: Mapping[str, COCOeval], truths: Sequence[Truth]) -> str:
    """Accuracy of each detector as a whole and by class, as Markdown."""
    ids = np.concatenate([truth.class_ids for truth in truths])
    heads = [f"{name} ({int((ids == number).sum())})" for number, name in enumerate(bccd.NAMES)]
    lines = [
        f"{len(truths)} held-out smears; COCO's average precision (pycocotools). In brackets: annotated cells.",
        "",
        f"| | mAP | mAP50 | {' | '.join(f'{head}: AP50 (AP)' for head in heads)} |",
        "| --- |" + " --- |" * (2 + len(heads)),
    ]
    for name, one in evaluations.items():
        row = [f"{precision(one, 'AP', None, 'all'):.3f}", f"{precision(one, 'AP50', None, 'all'):.3f}"]
        row += [
            f"{precision(one, 'AP50', c, 'all'):.3f} ({precision(one, 'AP', c, 'all'):.3f})"
            for c in range(len(bccd.NAMES))
        ]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def size_table(evaluations: Mapping[str, COCOeval], truths: Sequence[Truth]) -> str:
    """AP50 by the size of the cells, over all classes and of the class that has several sizes, as Markdown."""
    sides = [np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1) for truth in truths]
    areas, ids = np.concatenate(sides), np.concatenate([truth.class_ids for truth in truths])
    bounds = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
    columns: list[tuple[str, str, int]] = []
    for size, (least, most) in bounds.items():
        for class_id, name in enumerate(bccd.NAMES):
            count = int(((areas >= least) & (areas < most) & (ids == class_id)).sum())
            if count:
                columns.append((f"{size} {name}s ({count})", size, class_id))
    lines = [
        "AP50 by size as COCO divides it (small: below 32×32 pixels of the smear, medium: below 96×96). In brackets: "
        "annotated cells.",
        "",
        f"| | {' | '.join(head for head, _, _ in columns)} |",
        "| --- |" + " --- |" * len(columns),
    ]
    for name, one in evaluations.items():
        row = " | ".join(f"{precision(one, 'AP50', class_id, size):.3f}" for _, size, class_id in columns)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines)


def took(built: Mapping[str, Pipeline], smears: Sequence[Image]) -> dict[str, tuple[float, float, float]]:
    """Milliseconds of processor time a smear, the detectors taking turns: median, least, most."""
    times: dict[str, list[float]] = {name: [] for name in built}
    for pipeline in built.values():
        pipeline(smears[0])
    for pixels in smears:
        for name, pipeline in built.items():
            started = time.thread_time()
            pipeline(pixels)
            times[name].append((time.thread_time() - started) * 1000)
    return {name: (statistics.median(row), min(row), max(row)) for name, row in times.items()}


_HELD = """
import sys
import cv2
import pipelines
cv2.setNumThreads(1)
if sys.argv[1]:
    pipeline = pipelines.load(sys.argv[1], provider="cpu")
    for path in sys.argv[2:]:
        assert pipeline(path).ok
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def megabytes(model: str, pictures: Sequence[Path]) -> float:
    """Largest resident memory of a process that detects in these pictures; without a model, that only imports."""
    words = [sys.executable, "-c", _HELD, model, *map(str, pictures)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=DOCUMENT.parent.parent)
    return int(done.stdout) * 1024 / 1e6


def proposals(name: str, pipeline: Pipeline, smears: Sequence[Image]) -> float:
    """How many places of a smear the last stage judges: regions, the first stage's regions, or cells of the grid."""
    if name == "original R-CNN":
        params = pipeline.params.model_dump()
        found = [pipelines.selective_search(pixels, params["strategy"], params["proposals"]) for pixels in smears]
        return statistics.mean(len(boxes) for boxes in found)
    tensors = []
    for pixels in smears:
        prepared = pipeline.prepare(pixels, Workspace())
        assert isinstance(prepared, Prepared), prepared
        tensors.append(prepared.tensor.copy())
    if name == "YOLO11n":
        return statistics.mean(pipeline.session.run(tensor)[0].shape[-1] for tensor in tensors)
    model = onnx.load(str(pipeline.session.path))
    regions = list(dict.fromkeys(node.input[1] for node in model.graph.node if node.op_type == "RoiAlign"))
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(region) for region in regions)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    counts = [
        sum(len(found) for found in session.run(regions, {pipeline.card.input.name: tensor})) for tensor in tensors
    ]
    return statistics.mean(counts)


def cost_table(costs: Mapping[str, Cost], count: int, bare: float) -> str:
    """What each detector costs, as Markdown."""
    fastest = min(cost.milliseconds[0] for cost in costs.values())
    lines = [
        f"One thread, {count} smears of 640×480, taking turns; processor time of that thread, median (least to most); "
        f"{machine()}. Memory: the largest a process held that detects in {_FEW} smears; one that only imports the "
        f"product holds {bare:.0f} MB.",
        "",
        "| | ms a smear | times the fastest | MB of memory | places judged | file, MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, cost in costs.items():
        middle, least, most = cost.milliseconds
        lines.append(
            f"| {name} | {middle:.0f} ({least:.0f} to {most:.0f}) | {middle / fastest:.1f} | {cost.megabytes:.0f} | "
            f"{cost.proposals:,.0f} | {cost.file:.1f} |"
        )
    return "\n".join(lines)


_FEW = 5


def parts_table(pipeline: Pipeline, smears: Sequence[Image]) -> str:
    """Where R-CNN's time goes, as Markdown; and how many pixels its network sees against those of the smear."""
    limit = pipeline.params.model_dump()["proposals"]
    rows = [parts(pipeline, pixels, limit) for pixels in smears]
    middle = {name: statistics.median(getattr(row, name) for row in rows) for name in ("search", "cutting", "network")}
    whole = statistics.median(row.whole for row in rows)
    middle["rest"] = statistics.median(row.whole - row.search - row.cutting - row.network for row in rows)
    regions = statistics.mean(row.regions for row in rows)
    spec = pipeline.card.input
    share = regions * spec.height * spec.width / np.prod(smears[0].shape[:2])
    words = {
        "search": "proposals (selective search)",
        "cutting": "regions cut out and warped",
        "network": "regions through the network",
        "rest": "scores, suppression, everything else",
    }
    lines = [
        f"{len(smears)} smears, {regions:,.0f} regions each, medians of processor time.",
        "",
        "| R-CNN's part | s | share |",
        "| --- | --- | --- |",
        *(f"| {words[name]} | {value:.2f} | {max(0.0, value) / whole:.0%} |" for name, value in middle.items()),
        f"| the whole smear | {whole:.2f} | |",
        "",
        f"The regions of a smear together have {share:.0f} times its pixels, and all of them pass the network.",
    ]
    return "\n".join(lines)


def side_by_side(built: Mapping[str, Pipeline], pixels: Image) -> Image:
    """The smear through each detector with its usual thresholds, one beside the other."""
    strips = []
    for pipeline in built.values():
        found = pipeline(pixels).found
        assert isinstance(found, Detections)
        strips.append(draw(pixels, pixels.shape[:2], found))
    gap = np.full((pixels.shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([strips[0], gap, strips[1], gap, strips[2]], axis=1)


def main() -> None:
    """Measure, print and write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="where what was found is kept")
    parser.add_argument("--smears", type=int, default=87, help="so many of the held-out ones")
    parser.add_argument("--timed", type=int, default=12, help="smears whose time is taken")
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/detectors.md")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    truths = spread(list(bccd.truths(bccd.load("val", DATA / "bccd"))), options.smears)
    evaluations = {
        name: evaluated(found_in(build(find_model(model), METRIC, provider="cpu"), truths, options.scratch), truths,
                        bccd.NAMES)
        for name, model in MODELS.items()
    }  # fmt: skip
    tables = {"accuracy": accuracy_table(evaluations, truths), "sizes": size_table(evaluations, truths)}
    for table in tables.values():
        print(table, end="\n\n", flush=True)

    timed = [decode(truth.path.read_bytes(), Limits()).pixels for truth in spread(truths, options.timed)]
    paths = [truth.path for truth in truths[:_FEW]]
    built = {name: pipelines.load(model, provider="cpu") for name, model in MODELS.items()}
    milliseconds = took(built, timed)
    costs = {
        name: Cost(
            milliseconds[name],
            megabytes(model, paths),
            proposals(name, built[name], timed[:_FEW]),
            (SHIPPED / f"{model}.onnx").stat().st_size / 1e6,
        )
        for name, model in MODELS.items()
    }
    tables["costs"] = cost_table(costs, len(timed), megabytes("", []))
    tables["parts"] = parts_table(built["original R-CNN"], timed[:_FEW])
    for name in ("costs", "parts"):
        print(tables[name], end="\n\n", flush=True)
    if not options.no_write:
        for name, text in tables.items():
            write_between(DOCUMENT, name, text)
        shown = decode((DATA / "bccd" / "images" / f"{SHOWN}.jpg").read_bytes(), Limits()).pixels
        picture = cv2.cvtColor(side_by_side(built, shown), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(PICTURE), cv2.resize(picture, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA),
                    [cv2.IMWRITE_JPEG_QUALITY, 82])  # fmt: skip


if __name__ == "__main__":
    main()
