"""Jobs without input images: their list holds the names of seeds, where others have the names of files.

Everything else (shards, journals, resuming, formats, reports) knows images by their names, and works with these too.
A spec whose root is empty is such a job's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ParameterError
from pipelines.seeds import check_range, seed_name, seed_of
from workers.folder import Found, Source, sort_key
from workers.jobs import NO_ROOT, SEEDED, JobSpec


@dataclass(frozen=True, slots=True)
class Seeds(Source):
    """The seeds a job makes pictures from, in ascending order."""

    numbers: Sequence[int] = ()

    def scan(self) -> Iterator[Found]:
        """Give the seeds; there is no file, so nothing about one that could change."""
        return (Found(seed_name(number), 0, 0) for number in self.numbers)

    def count(self) -> int:
        """How many there are."""
        return len(self.numbers)


def seeds(count: int = 1, seed: int = 0) -> Seeds:
    """The input of a job that makes `count` pictures, from `seed` on. Raises ParameterError if out of range."""
    return Seeds(Path(), None, check_range(seed, count))


def said(source: Source) -> str:
    """An input that is settled already, seeds or named files, as people read it."""
    if not isinstance(source, Seeds):
        return f"{source.count():,} files"
    first, last = source.numbers[0], source.numbers[-1]
    if len(source.numbers) == 1:
        return f"seed {first}"
    return f"seeds {first} to {last}" if last - first + 1 == len(source.numbers) else f"{len(source.numbers):,} seeds"


def check_input(pipeline: str, source: Source | None) -> None:
    """Raise ParameterError where a pipeline that reads pictures gets seeds, or the one that makes them does not."""
    if isinstance(source, Seeds) and pipeline != SEEDED:
        raise ParameterError(f"--count and --seed belong to {SEEDED}: {pipeline} reads pictures, give it SRC")
    if pipeline == SEEDED and not isinstance(source, Seeds):
        raise ParameterError(
            f"{SEEDED} makes pictures from seeds and takes no picture: give --count and --seed instead of SRC"
        )


def some_of(spec: JobSpec, names: set[str]) -> Source:
    """Some of a job's images, as the input of another job."""
    if spec.root == NO_ROOT:
        return Seeds(Path(), None, sorted(seed_of(name) for name in names))
    return Source(Path(spec.root), tuple(sorted(names, key=sort_key)))
