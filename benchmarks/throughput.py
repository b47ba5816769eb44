"""How close to the bare ONNX Runtime session the product comes, side by side in one run.

    python -m benchmarks.throughput            # a few minutes; writes the table into docs/performance.md
    python -m benchmarks.throughput --rounds 1 --images 200 --no-write

For each pipeline, on real JPEGs:
  raw       the session alone on preprocessed tensors, N threads around one 1-thread session
  decode    decoding alone (reading, header, pixels), N threads
  map       Pipeline.map in this process: read → decode → preprocess → session → read the outputs
  queue     `pixelmill run` as a command: a broker and Celery workers of its own; steady state and whole command

The arrangements of one round run one after the other, so that a busy machine slows all of them; ratios are taken within
a round, and the median over the rounds is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import psutil

import pipelines
from pipelines.cores import available_cores
from pipelines.image import decode, read_bytes
from pipelines.pipeline import Pipeline, Prepared
from pipelines.tensor import Workspace
from pipelines.threads import map_threaded

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("PIXELMILL_DATA", HERE.parent.parent / "shared" / "data"))
DOCUMENT = HERE.parent / "docs" / "performance.md"
PIPELINES = {"detect": "ssd-mobilenet-v2", "classify": "efficientnet-lite0"}


def photographs() -> list[Path]:
    """Real JPEGs: COCO photographs, blood smears, and the samples that come with the project."""
    folders = [DATA / "coco128" / "images", DATA / "bccd" / "images", DATA / "photos", HERE.parent / "samples"]
    return [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]


def link_images(folder: Path, count: int) -> list[Path]:
    """Fill a folder with `count` names of real photographs (links, so that nothing is copied)."""
    originals = photographs()
    if len(originals) < 200:
        sys.exit(f"the benchmark wants 200 real JPEGs, {len(originals)} are below {DATA}: set PIXELMILL_DATA")
    made = []
    for number in range(count):
        link = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(originals[number % len(originals)].resolve())
        made.append(link)
    return made


def rate(function: Callable[[Path], object], items: Iterable[Path], threads: int) -> float:
    """Items per second of a function in N threads."""
    items = list(items)
    started = time.perf_counter()
    for _ in map_threaded(function, items, threads=threads, ordered=False):
        pass
    return len(items) / (time.perf_counter() - started)


def raw_rate(pipeline: Pipeline, paths: list[Path], threads: int) -> float:
    """Runs per second of the session alone, on tensors prepared before."""
    tensors = []
    for path in paths[:64]:
        prepared = pipeline.prepare(path, Workspace())
        assert isinstance(prepared, Prepared), prepared
        tensors.append(np.array(prepared.tensor))
    turns = [tensors[i % len(tensors)] for i in range(len(paths))]
    started = time.perf_counter()
    for _ in map_threaded(pipeline.session.run, turns, threads=threads, ordered=False):
        pass
    return len(turns) / (time.perf_counter() - started)


def decode_rate(pipeline: Pipeline, paths: list[Path], threads: int) -> float:
    """Pictures per second of reading, checksum and decoding alone."""

    def one(path: Path) -> None:
        data = read_bytes(path)
        hashlib.sha256(data)
        decode(data, enough=pipeline._enough)

    return rate(one, paths, threads)


def map_rate(pipeline: Pipeline, paths: list[Path], threads: int) -> float:
    """Pictures per second of the whole way in this process."""
    started = time.perf_counter()
    failed = sum(not result.ok for result in pipeline.map(paths, threads=threads))
    assert not failed, f"{failed} of {len(paths)} failed"
    return len(paths) / (time.perf_counter() - started)


class PeakMemory:
    """Largest resident memory of any worker process below this one, sampled."""

    def __init__(self) -> None:
        self.peak = self.usual = self.early = self.late = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        samples: list[int] = []
        while not self._over.wait(0.2):
            largest = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    if "python" in process.name():
                        largest = max(largest, process.memory_info().rss)
                except psutil.Error:
                    continue
            samples.append(largest)
        if samples:
            self.peak = max(samples)
            busy = [s for s in samples if s > self.peak / 2]
            self.usual = int(statistics.median(busy))
            tenth = max(1, len(busy) // 10)
            # the first tenth still loads the model, the last one already draws the report
            self.early = int(statistics.median(busy[tenth : 2 * tenth] or busy))
            self.late = int(statistics.median(busy[-2 * tenth : -tenth] or busy))


def queue_run(pipeline: str, source: Path, output: Path, *options: str) -> tuple[dict[str, object], PeakMemory]:
    """Run the command as a user would; its summary and its workers' memory."""
    command = [sys.executable, "-m", "workers.cli", "run", pipeline, str(source), "--out", str(output), "--json", "-q"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_BROKER")}
    with PeakMemory() as memory:
        done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, cwd=HERE.parent)
    if done.returncode:
        sys.exit(f"`pixelmill run` ended with {done.returncode}: {done.stderr}")
    summary: dict[str, object] = json.loads(done.stdout)
    return summary, memory


def measure(name: str, model: str, paths: list[Path], source: Path, rounds: int, scratch: Path) -> dict[str, float]:
    """All arrangements of one pipeline, `rounds` times; medians."""
    threads = available_cores()
    pipeline = pipelines.load(model)
    map_rate(pipeline, paths[:64], threads)  # warm
    seen: dict[str, list[float]] = {}

    def note(key: str, value: float) -> float:
        seen.setdefault(key, []).append(value)
        return value

    for number in range(rounds):
        raw = note("raw", raw_rate(pipeline, paths, threads))
        decoding = note("decode", decode_rate(pipeline, paths, threads))
        mapped = note("map", map_rate(pipeline, paths, threads))
        bare, memory = queue_run(name, source, scratch / f"{name}-{number}", "--no-overlays")
        mapped_again = note("map", map_rate(pipeline, paths, threads))
        drawn, _ = queue_run(name, source, scratch / f"{name}-{number}-drawn")
        both = (mapped + mapped_again) / 2
        steady = note("queue", float(bare["steady_images_per_second"]))  # type: ignore[arg-type]
        note("command", float(bare["images_per_second"]))  # type: ignore[arg-type]
        note("drawn", float(drawn["steady_images_per_second"]))  # type: ignore[arg-type]
        note("first", min(float(run["first_result_seconds"]) for run in (bare, drawn)))  # type: ignore[arg-type]
        note("worker_mb", memory.usual / 1e6)
        note("peak_mb", memory.peak / 1e6)
        note("map/raw", mapped / raw)
        note("map/added", mapped / (1 / (1 / raw + 1 / decoding)))
        note("queue/map", steady / both)
        print(f"  {name} round {number + 1}: " + ", ".join(f"{k} {v[-1]:.3g}" for k, v in seen.items()), flush=True)
    return {key: statistics.median(values) for key, values in seen.items()}


def long_run(scratch: Path, images: int) -> tuple[PeakMemory, dict[str, object]]:
    """`classify` over many images: does a worker grow?"""
    source = scratch / "long"
    link_images(source, images)
    summary, memory = queue_run("classify", source, scratch / "long-out", "--no-overlays")
    return memory, summary


def help_seconds() -> float:
    """Time of `pixelmill --help`, median of seven."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "workers.cli", "--help"], capture_output=True, check=True, cwd=HERE.parent
        )
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def machine() -> str:
    """Which machine this is."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*: (.+)", cpuinfo.read_text())
        model = found[1] if found else ""
    import onnxruntime

    return (
        f"{available_cores()} cores ({model or platform.machine()}), Python {platform.python_version()}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


def table(measured: dict[str, dict[str, float]], count: int, rounds: int) -> str:
    """The figures as Markdown."""
    rows = [
        ("raw session, N threads around one 1-thread session", lambda m: f"{m['raw']:.1f} images/s"),
        ("decoding alone", lambda m: f"{m['decode']:.1f} images/s"),
        ("`Pipeline.map` in-process", lambda m: f"{m['map']:.1f} images/s"),
        ("`pixelmill run`, steady state", lambda m: f"{m['queue']:.1f} images/s"),
        ("`pixelmill run`, steady state, with overlays", lambda m: f"{m['drawn']:.1f} images/s"),
        ("`pixelmill run`, whole command with start and report", lambda m: f"{m['command']:.1f} images/s"),
        ("in-process / raw session", lambda m: f"{m['map/raw']:.2f}"),
        ("in-process / (decode + session, measured apart and added)", lambda m: f"{m['map/added']:.2f}"),
        ("queue / in-process", lambda m: f"{m['queue/map']:.2f}"),
        ("first result after the command", lambda m: f"{m['first']:.2f} s"),
        ("largest worker process while it works (median)", lambda m: f"{m['worker_mb']:.0f} MB"),
        ("largest worker process at its peak (loading, report)", lambda m: f"{m['peak_mb']:.0f} MB"),
    ]
    lines = [
        f"{count} JPEGs, {rounds} rounds, medians; {machine()}.",
        "",
        "| | " + " | ".join(f"`{name}` ({PIPELINES[name]})" for name in measured) + " |",
        "| --- |" + " --- |" * len(measured),
    ]
    lines += [f"| {label} | " + " | ".join(show(m) for m in measured.values()) + " |" for label, show in rows]
    return "\n".join(lines)


def write_between(document: Path, mark: str, text: str) -> None:
    """Replace what stands between the marks of a document."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    old = document.read_text()
    if begin not in old or end not in old:
        sys.exit(f"{document} has no marks {begin} … {end}")
    head, _, rest = old.partition(begin)
    document.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=1200, help="photographs a round; fewer than a thousand and the start shows"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=10_000, help="images of the memory run; 0: leave it out")
    parser.add_argument("--pipeline", choices=list(PIPELINES), action="append")
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-bench-") as temporary:
        scratch = Path(temporary)
        source = scratch / "photos"
        paths = link_images(source, options.images)
        chosen = options.pipeline or list(PIPELINES)
        measured = {n: measure(n, PIPELINES[n], paths, source, options.rounds, scratch) for n in chosen}
        text = table(measured, len(paths), options.rounds)
        text += f"\n\n`pixelmill --help` takes {help_seconds():.2f} s."
        if options.long:
            memory, summary = long_run(scratch, options.long)
            text += (
                f" A run of {options.long:,} images (`classify`, {summary['images_per_second']} images/s for the whole "
                f"command): the largest worker process has {memory.early / 1e6:.0f} MB after a tenth of it and "
                f"{memory.late / 1e6:.0f} MB near its end."
            )
    print("\n" + text)
    if not options.no_write:
        write_between(DOCUMENT, "throughput", text)
        print(f"\nwritten into {DOCUMENT}")


if __name__ == "__main__":
    main()
