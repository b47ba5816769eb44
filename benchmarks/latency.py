"""How long one picture takes over the queue and in this process, side by side in one run.

    python -m benchmarks.latency                   # a minute; prints the table
    python -m benchmarks.latency --pictures 200 --pipeline classify

A broker (the embedded Valkey) and a worker of its own; then each picture is taken through the pipeline in this process
and through `Client.run`, in turn, by its path and as bytes. So both meet the same disturbances, and the difference is
taken picture by picture.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
from benchmarks.throughput import photographs
from pipelines.catalog import find_pipeline
from pipelines.cores import available_cores
from workers import Client
from workers.embedded import EmbeddedBroker


def milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(url: str, name: str, pictures: list[Path], store: str | None = None) -> dict[str, list[float]]:
    """The milliseconds of every picture, by the way it took. url, store: of the service."""
    pipeline, client = pipelines.load(find_pipeline(name).default_model), Client(url, store)
    ways: dict[str, Callable[[Path], Any]] = {
        "in this process": pipeline,
        "Client.run, path": lambda path: client.run(name, path),
        "Client.run, bytes": lambda path: client.run(name, path.read_bytes()),
    }
    for way in ways.values():  # the first one loads the model
        for path in pictures[:4]:
            way(path)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for path in pictures:
        for way, call in ways.items():
            times[way].append(milliseconds(lambda call=call, path=path: call(path)))  # type: ignore[misc]
    return times


def rows(times: dict[str, list[float]], before: str = "") -> list[str]:
    """A row of a table for each way. before: cells at the beginning of each."""
    base, made = times["in this process"], []
    for way, values in times.items():
        over = statistics.median(value - own for value, own in zip(values, base, strict=True))
        cells = f"{way} | {statistics.median(values):.1f} | {percentile(values, 0.95):.1f} | {over:+.1f}"
        made.append(f"| {before}{cells} |")
    return made


def print_table(name: str, times: dict[str, list[float]]) -> None:
    print(f"{name}, {len(times['in this process'])} pictures, on {platform.processor() or platform.machine()}, "
          f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print("| way | p50 ms | p95 ms | over in-process, median of the differences, ms |")
    print("| --- | --- | --- | --- |")
    print("\n".join(rows(times)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--pipeline", action="append", help="default: classify and detect")
    arguments = parser.parse_args()
    pictures = photographs()[: arguments.pictures]
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "data")
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.cli", "worker", "--broker", broker.url, "--root", os.sep],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for name in arguments.pipeline or ["classify", "detect"]:
                print_table(name, measure(broker.url, name, pictures))
        finally:
            worker.terminate()
            worker.wait()
            broker.stop()


if __name__ == "__main__":
    main()
