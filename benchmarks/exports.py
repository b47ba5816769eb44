"""What exporting gains and costs, one network a family: PyTorch, ONNX fp32, fp16, int8, side by side in one run.

    python -m benchmarks.exports                       # some ten minutes; writes the table into docs/exports.md
    python -m benchmarks.exports resnet18 --no-write   # one network, printed

Every network is exported as `pixelmill export --force` does it, so agreement is what its own check measured. Speeds are
medians of one run on one thread, taken in turns; ratios are against the fp32 file of the same turn.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from exports.export import Outcome, Request, export
from exports.gates import Precision
from exports.libraries import torch
from pipelines.cores import available_cores
from pipelines.errors import PixelmillError

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("PIXELMILL_DATA", HERE.parent.parent / "shared" / "data"))
DOCUMENT = HERE.parent / "docs" / "exports.md"
BEGIN, END = "<!-- benchmarks/exports.py: begin -->", "<!-- benchmarks/exports.py: end -->"


@dataclass(frozen=True, slots=True)
class Case:
    """name, weights, (height, width) or None, and which precisions make sense."""

    name: str
    weights: str = "random"
    size: tuple[int, int] | None = None
    precisions: tuple[Precision, ...] = ("fp32", "int8")


CASES = (
    Case("lenet5"),
    Case("resnet18", precisions=("fp32", "fp16", "int8")),
    Case("efficientnet-lite0", "official", precisions=("fp32", "fp16", "int8")),
    Case("resnet18-embedding"),
    Case("resnet18-pyramid", size=(224, 224)),
    Case("yolo11n", size=(480, 480), precisions=("fp32", "fp16", "int8")),
    Case("yolo26n", size=(480, 480)),
    Case("yolo11n-seg", size=(480, 480)),
    Case("fasterrcnn-mobilenet-v3-large-320-fpn"),
    Case("maskrcnn-resnet50-fpn", size=(320, 533), precisions=("fp32",)),
    Case("lraspp-mobilenet-v3-large", size=(320, 320)),
    Case("dcgan-generator", precisions=("fp32", "fp16")),
    Case("transformer-net", size=(256, 256)),
)


def measure(case: Case, precision: Precision, folder: Path) -> Outcome | str:
    """Export a network; what stopped it, in words, if something did."""
    photos = DATA / "coco128" / "images"
    request = Request(
        case.name,
        weights=case.weights,
        precision=precision,
        size=case.size,
        out=folder / f"{case.name}-{precision}.onnx",
        calibrate=photos if precision == "int8" else None,
        force=True,
    )
    try:
        return export(request)
    except PixelmillError as error:
        return str(error)


def row(case: Case, precision: Precision, outcome: Outcome | str) -> str:
    """One line of the table."""
    weights = "" if case.weights == "random" else f" ({case.weights})"
    if isinstance(outcome, str):
        return f"| {case.name}{weights} | {precision} | {outcome.split(': ')[-1][:80]} | | | | | |"
    spec, speed = outcome.card.input, outcome.speed_ms
    size = "100 numbers" if outcome.card.task == "generate" else f"{spec.height}×{spec.width}"
    own = speed["ONNX fp32" if precision == "fp32" else f"ONNX {precision}"]
    against = "1" if precision == "fp32" else f"{speed['ONNX fp32'] / own:.2f}"
    cells = [
        f"{case.name}{weights}",
        precision,
        size,
        f"{speed['PyTorch']:.1f} → {own:.1f}",
        f"{speed['PyTorch'] / own:.2f}",
        against,
        f"{outcome.size_bytes / 1e6:.1f}",
        f"{outcome.seconds['export'] + outcome.seconds['convert']:.0f}",
        agreement(outcome),
    ]
    return f"| {' | '.join(cells)} |"


def agreement(outcome: Outcome) -> str:
    """The figure that matters for the kind of output, and whether the gate held."""
    figures: dict[str, Any] = dict(outcome.report.figures)
    for name, words in (
        ("top1_agreement", "top-1 {:.1%}"),
        ("matched", "matched {:.1%}"),
        ("equal_pixels", "pixels {:.2%}"),
        ("pixel_difference", "≤ {:.2g} of 255"),
        ("cosine", "cosine {:.5f}"),
    ):
        if name in figures:
            said = words.format(figures[name])
            return said if outcome.report.passed else f"{said}, **refused**"
    return "?"


def machine() -> str:
    """Which machine, without its name."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.*)", text)
    kind = found[1] if found else platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    return (
        f"{available_cores()} cores ({kind}), one thread each, load {load:.1f} at the start; ONNX Runtime "
        f"{onnxruntime.__version__}, PyTorch {torch().__version__}; {time.strftime('%Y-%m-%d')}"
    )


HEAD = (
    "| network | precision | input | PyTorch → ONNX, ms | × PyTorch | × fp32 | MB | export, s | agreement |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks of the table; all unless given")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    where = machine()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if arguments.names and case.name not in arguments.names:
                continue
            for precision in case.precisions:
                lines.append(row(case, precision, measure(case, precision, Path(folder))))
                print(lines[-1], flush=True)
    table = f"{where}\n\n{HEAD}\n" + "\n".join(lines)
    if not arguments.no_write and not arguments.names:
        write(table)


def write(table: str) -> None:
    """Put the table between its markers."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
