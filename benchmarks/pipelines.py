"""How close every pipeline comes to its bare session, with everything a user gets, side by side in one run.

    python -m benchmarks.pipelines                 # some minutes; writes its table into docs/performance.md
    python -m benchmarks.pipelines --only segment --images 60 --no-write

For each pipeline and shipped model, on pictures of the kind it was made for, N threads around one 1-thread session:
  session    the bare session on tensors prepared before; where a second network runs for each box, both networks on
             the very tensors the pipeline gives them, in its batches
  decode     reading, checksum and decoding
  draw       the overlay; for a pipeline that makes a picture, making it from the network's outputs
  whole      Pipeline.map from the file to the drawn picture
`whole / session` is what a long session is judged by; a short one by `whole / added`, where added is what decode,
session and draw would take one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pipelines
from benchmarks.throughput import DATA, DOCUMENT, decode_rate, machine, rate, write_between
from pipelines.boxmasks import Paired
from pipelines.card import Card
from pipelines.catalog import PIPELINES, SHIPPED
from pipelines.cores import available_cores
from pipelines.draw import draw
from pipelines.image import Picture
from pipelines.pipeline import Pipeline, Prepared
from pipelines.results import RenderedPicture, Result
from pipelines.session import Session
from pipelines.tensor import Workspace
from pipelines.threads import map_threaded
from pipelines.types import Tensor

LONG_SESSION_MS = 30
TARGET = 0.88
DIFFERENT = 64  # pictures whose tensors are kept; then they come again


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline with one of the shipped models, and the kind of pictures it is for."""

    pipeline: str
    model: str
    pictures: str

    @property
    def title(self) -> str:
        """As the table names it."""
        return f"`{self.pipeline}` ({self.model})"


def cases() -> list[Case]:
    """Every shipped model with its pipeline; blood smears for the models of smears, photographs for the others."""
    found = []
    for path in sorted(SHIPPED.glob("*.onnx")):
        task = pipelines.read_card(path).task
        if task == "rcnn":  # runs its session a thousand times a picture: benchmarks.rcnn
            continue
        if task == "generate":  # takes no picture: benchmarks.generate
            continue
        pictures = "smears" if path.stem.startswith("smears") else "photographs"
        found += [Case(entry.name, path.stem, pictures) for entry in PIPELINES.values() if entry.tasks[0] == task]
    return sorted(found, key=lambda case: list(PIPELINES).index(case.pipeline))


def pictures(kind: str, count: int) -> list[Path]:
    """So many real JPEGs of a kind, the same ones over again if there are fewer."""
    folder = DATA / ("bccd" if kind == "smears" else "coco128") / "images"
    originals = sorted(folder.glob("*.jpg"))
    if not originals:
        sys.exit(f"the benchmark wants real JPEGs below {folder}: set PIXELMILL_DATA")
    return [originals[number % len(originals)] for number in range(count)]


class _Overheard:
    """A session that keeps what it is given."""

    def __init__(self, session: Session) -> None:
        self.session, self.given = session, list[Tensor]()

    @property
    def card(self) -> Card:
        return self.session.card

    def run(self, tensor: Tensor) -> list[Tensor]:
        self.given.append(np.array(tensor))
        return self.session.run(tensor)


def runs(pipeline: Pipeline, path: Path) -> list[tuple[Session, Tensor]]:
    """Give every network that runs for a picture, with the tensor it gets."""
    prepared = _prepared(pipeline, path)
    found = [(pipeline.session, np.array(prepared.tensor))]
    if isinstance(pipeline.session, Paired):
        head = pipeline.session.head
        pipeline.session.head = overheard = _Overheard(head)  # type: ignore[assignment]
        outputs = pipeline.session.run(prepared.tensor)
        pipeline.read_outputs(_single(pipeline, outputs), prepared.plan, prepared.picture.pixels)
        pipeline.session.head = head
        found += [(head, tensor) for tensor in overheard.given]
    return found


def session_rate(turns: Sequence[list[tuple[Session, Tensor]]], threads: int) -> float:
    """Pictures per second of the networks alone."""
    started = time.perf_counter()
    for _ in map_threaded(lambda turn: [session.run(tensor) for session, tensor in turn], turns, threads=threads):
        pass
    return len(turns) / (time.perf_counter() - started)


def whole_rate(pipeline: Pipeline, paths: list[Path], threads: int) -> float:
    """Pictures per second from the file to the drawn picture."""

    def drawn(result: Result, picture: Picture | None) -> Result:
        if result.found is None or picture is None:
            sys.exit(f"{result.image} failed: {result.error}")
        if not isinstance(result.found, RenderedPicture):
            draw(picture.pixels, picture.size, result.found)
        return result

    started = time.perf_counter()
    for _ in pipeline.map(paths, threads=threads, then=drawn, ordered=False):
        pass
    return len(paths) / (time.perf_counter() - started)


def draw_rate(pipeline: Pipeline, paths: list[Path], threads: int) -> float:
    """Drawn pictures per second, of results that are there already."""
    work: list[Callable[[], object]] = []
    for path in paths[:32]:
        prepared = _prepared(pipeline, path)
        outputs = [np.array(output) for output in pipeline.session.run(prepared.tensor)]
        work.append(_drawing(pipeline, prepared, outputs))
    return rate(lambda path: work[int(path.name)](), [Path(str(i % len(work))) for i in range(len(paths))], threads)


def _prepared(pipeline: Pipeline, path: Path) -> Prepared:
    prepared = pipeline.prepare(path, Workspace())
    if not isinstance(prepared, Prepared):
        sys.exit(f"{path} failed: {prepared.error}")
    return prepared


def _single(pipeline: Pipeline, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
    return outputs if pipeline.card.input.layout == "CHW" else [output[0] for output in outputs]


def _drawing(pipeline: Pipeline, prepared: Prepared, outputs: Sequence[Tensor]) -> Callable[[], object]:
    single = _single(pipeline, outputs)
    pixels, size, plan = prepared.picture.pixels, prepared.picture.size, prepared.plan
    found = pipeline.read_outputs(single, plan, pixels)
    if isinstance(found, RenderedPicture):
        return lambda: pipeline.read_outputs(single, plan, pixels)
    return lambda: draw(pixels, size, found)


def measure(case: Case, count: int, rounds: int) -> dict[str, float]:
    """All arrangements, `rounds` times in turn; medians of rates and of the ratios of each round."""
    threads = available_cores()
    pipeline = pipelines.load(case.model, pipeline=case.pipeline)
    paths = pictures(case.pictures, count)
    whole_rate(pipeline, paths[:16], threads)  # warm
    different = [runs(pipeline, path) for path in paths[:DIFFERENT]]
    turns = [different[number % len(different)] for number in range(len(paths))]
    seen: dict[str, list[float]] = {}
    for number in range(rounds):
        before = session_rate(turns, threads)
        decoding = decode_rate(pipeline, paths, threads)
        drawing = draw_rate(pipeline, paths, threads)
        whole = whole_rate(pipeline, paths, threads)
        session = 2 / (1 / before + 1 / session_rate(turns, threads))  # so that a drift of the machine cancels
        added = 1 / (1 / session + 1 / decoding + 1 / drawing)
        figures = {
            "session": session,
            "decode": decoding,
            "draw": drawing,
            "whole": whole,
            "whole/session": whole / session,
            "whole/added": whole / added,
            "session_ms": 1000 * threads / session,
        }
        for key, value in figures.items():
            seen.setdefault(key, []).append(value)
        print(
            f"  {case.title} round {number + 1}: " + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()), flush=True
        )
    return {key: statistics.median(values) for key, values in seen.items()}


def table(measured: dict[Case, dict[str, float]], count: int, rounds: int) -> str:
    """The figures as Markdown."""
    lines = [
        f"{count} JPEGs each, {rounds} rounds, medians, images/s; {machine()}.",
        "",
        "| pipeline (model) | session | decode | draw | whole way | whole / session | whole / added | target |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, m in measured.items():
        judged = "whole/session" if m["session_ms"] > LONG_SESSION_MS else "whole/added"
        verdict = "met" if m[judged] >= TARGET else "missed"
        lines.append(
            f"| {case.title} | {m['session']:.1f} ({m['session_ms']:.0f} ms) | {m['decode']:.0f} | {m['draw']:.0f} | "
            f"{m['whole']:.1f} | {m['whole/session']:.2f} | {m['whole/added']:.2f} | "
            f"{judged.replace('/', ' / ')} ≥ {TARGET}: {verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="pictures a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="PIPELINE|MODEL", help="may be repeated")
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/performance.md")
    options = parser.parse_args()
    chosen = [c for c in cases() if not options.only or {c.pipeline, c.model} & set(options.only)]
    measured = {case: measure(case, options.images, options.rounds) for case in chosen}
    text = table(measured, options.images, options.rounds)
    print("\n" + text)
    if not options.no_write:
        write_between(DOCUMENT, "pipelines", text)
        print(f"\nwritten into {DOCUMENT}")


if __name__ == "__main__":
    main()
