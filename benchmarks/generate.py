"""How many pictures the shipped generators make a second, and what each part of it costs, side by side in one run.

    python -m benchmarks.generate                 # under a minute; writes its table into docs/generate.md
    python -m benchmarks.generate --pictures 100 --no-write

N threads around one 1-thread session, a picture a run:
  session    the bare session on latents made before, the picture alone asked for
  whole      Generator.map from the seed to the picture in memory
  judged     the same with the discriminator
  latent     making the latent of a seed, in microseconds
The parts take turns; medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pipelines
from benchmarks.throughput import machine, write_between
from pipelines.catalog import SHIPPED
from pipelines.cores import available_cores
from pipelines.generate import Generator
from pipelines.seeds import seed_names
from pipelines.threads import map_threaded

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "generate.md"


def load(name: str, **params: object) -> Generator:
    """A shipped generator."""
    generate = pipelines.load(name, params, provider="cpu")
    assert isinstance(generate, Generator)
    return generate


def session_rate(generate: Generator, count: int, threads: int) -> float:
    """Runs per second of the bare session."""
    latents = [np.ascontiguousarray(generate.latents(seed)) for seed in range(64)]
    turns = [latents[number % 64] for number in range(count)]
    started = time.perf_counter()
    for _ in map_threaded(generate.session.run, turns, threads=threads, ordered=False):
        pass
    return count / (time.perf_counter() - started)


def map_rate(generate: Generator, count: int, threads: int) -> float:
    """Pictures per second from seeds to pixels."""
    started = time.perf_counter()
    made = sum(result.ok for result in generate.map(seed_names(count), threads=threads))
    assert made == count, f"{count - made} of {count} failed"
    return count / (time.perf_counter() - started)


def latent_micros(generate: Generator, count: int) -> float:
    """Microseconds of a latent."""
    started = time.perf_counter()
    for seed in range(count):
        generate.latents(seed)
    return (time.perf_counter() - started) / count * 1e6


def measure(name: str, pictures: int, rounds: int) -> dict[str, float]:
    """Every part of one model, `rounds` times; medians."""
    threads = available_cores()
    plain, judge = load(name), load(name, judge=True)
    parts: dict[str, Callable[[], float]] = {
        "session": lambda: session_rate(plain, pictures, threads),
        "whole": lambda: map_rate(plain, pictures, threads),
        "judged": lambda: map_rate(judge, pictures, threads),
        "latent": lambda: latent_micros(plain, 200),
    }
    for part in parts.values():
        part()  # warm
    seen: dict[str, list[float]] = {part: [] for part in (*parts, "share")}
    for _ in range(rounds):
        found = {part: rate() for part, rate in parts.items()}
        for part, value in found.items():
            seen[part].append(value)
        seen["share"].append(found["whole"] / found["session"])
    return {part: statistics.median(values) for part, values in seen.items()}


def table(measured: dict[str, dict[str, float]], pictures: int, rounds: int) -> str:
    """The figures as Markdown."""
    lines = [
        f"{machine()}. {pictures} pictures, medians of {rounds} rounds.",
        "",
        "| model | session | whole | whole / session | judged | a latent |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {m['session']:.0f}/s | {m['whole']:.0f}/s | {m['share']:.2f} | {m['judged']:.0f}/s | "
        f"{m['latent']:.0f} µs |"
        for name, m in measured.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-write", action="store_true", help=f"leave {DOCUMENT.name} as it is")
    given = parser.parse_args()
    models = [path.stem for path in sorted(SHIPPED.glob("*.onnx")) if pipelines.read_card(path).task == "generate"]
    text = table({name: measure(name, given.pictures, given.rounds) for name in models}, given.pictures, given.rounds)
    print(text)
    if not given.no_write:
        write_between(DOCUMENT, "benchmarks.generate", text)


if __name__ == "__main__":
    main()
