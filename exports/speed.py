"""How fast an export is, beside its network and its fp32 form: several ways of doing the same thing, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exports.catalog import Entry
from exports.gates import Precision
from exports.graph import example_tensor
from exports.libraries import torch
from exports.rawsession import open_session
from exports.ways import TorchSession
from pipelines.card import InputSpec

if TYPE_CHECKING:
    from torch.nn import Module

SLOWER = 0.97  # below this share of fp32's speed a precision is called slower; in between is noise


def side_by_side(
    ways: Mapping[str, Callable[[], Any]], *, seconds: float = 4.0, least: int = 3, most: int = 40
) -> dict[str, float]:
    """Time each way once a round, in turn, so that whatever else the machine does meets all of them alike.

    seconds: how long all of it may take, beyond `least` rounds; one more round before them warms up.
    Returns the median milliseconds of one call, by name.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    began = time.perf_counter()
    for number in range(most):
        if number >= least and time.perf_counter() - began > seconds:
            break
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            took[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}


def speeds(
    entry: Entry, spec: InputSpec, wrapper: Module, plain: Path, converted: Path | None, precision: Precision,
    seconds: float = 4.0,
) -> dict[str, float]:  # fmt: skip
    """Median milliseconds of one run on one thread: PyTorch, the fp32 file and the converted one, taking turns."""
    tensor = example_tensor(entry, spec, 1).numpy().astype(np.float32)
    plain_session = open_session(plain, 1)
    network = TorchSession(wrapper, plain_session.card)
    ways: dict[str, Callable[[], Any]] = {
        "PyTorch": lambda: network.run(tensor),
        "ONNX fp32": lambda: plain_session.run(tensor),
    }
    if converted is not None:
        session = open_session(converted, 1)
        ways[f"ONNX {precision}"] = lambda: session.run(tensor)
    with threads(1):
        return side_by_side(ways, seconds=seconds)


def verdict(speed: Mapping[str, float], precision: Precision) -> str:
    """What the speeds say about this precision on this machine, one sentence."""
    fp32, torch_ms = speed["ONNX fp32"], speed["PyTorch"]
    if precision == "fp32":
        ratio = torch_ms / fp32
        return (
            f"{ratio:.2f} times as fast as PyTorch here" if ratio >= 1 else f"slower than PyTorch here ({ratio:.2f}×)"
        )
    ratio = fp32 / speed[f"ONNX {precision}"]
    if ratio < SLOWER:
        return f"{precision} is slower than fp32 here ({ratio:.2f} times its speed): use fp32 on this machine"
    if ratio < 1 / SLOWER:
        return f"{precision} is no faster than fp32 here ({ratio:.2f} times its speed)"
    return f"{precision} is {ratio:.2f} times as fast as fp32 here"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for a while."""
    library = torch()
    before = library.get_num_threads()
    library.set_num_threads(count)
    try:
        yield
    finally:
        library.set_num_threads(before)
