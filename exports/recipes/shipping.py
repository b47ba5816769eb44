"""What every recipe needs around its network: where the data is, timings side by side, the file in its place."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from pipelines.types import Tensor

EXPORTER = "pixelmill 0.1.0"
SHIPPED = Path(__file__).parents[2] / "pipelines" / "models"


def data_folder() -> Path:
    """The folder of labelled pictures: PIXELMILL_DATA, else `../shared/data` beside the project."""
    given = os.environ.get("PIXELMILL_DATA")
    return Path(given) if given else Path(__file__).parents[3] / "shared" / "data"


def side_by_side(models: Mapping[str, bytes], feed: Mapping[str, Tensor], runs: int = 50) -> dict[str, float]:
    """Time the same network stored in several ways.

    models: name → serialised ONNX model. feed: input name → array.
    Returns the median milliseconds of one run on one thread, by name. The models take turns, so that whatever else the
    machine does meets all of them alike.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {n: ort.InferenceSession(m, options, providers=["CPUExecutionProvider"]) for n, m in models.items()}
    took: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(runs):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, dict(feed))
            took[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(content)
    half.replace(path)
