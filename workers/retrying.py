"""Which images of an ended job are tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workers.errors import JobError
from workers.folder import Source
from workers.jobs import JobSpec
from workers.journal import RESULTS, read_lines
from workers.manifest import read_entries
from workers.seeds import some_of


def images_again(spec: JobSpec, *, only_failures: bool) -> Source:
    """Find the images of a job that has ended.

    only_failures: those without a good result: they failed, or the job ended before them. Else all of them.
    Raises JobError if there are none, or nothing is left of the job to know them by.
    """
    output = Path(spec.output)
    good: set[str] = set()
    again: set[str] = set()
    for line in read_lines(output / RESULTS):
        name = line.get("image")
        if isinstance(name, str):
            (good if only_failures and line.get("status") == "ok" else again).add(name)
    again.update(name for name in _listed(output, spec.job) if name not in good)
    if not again:
        what = "has no failures" if good else f"left no results in {output}"
        raise JobError(f"job {spec.job} {what}: there is nothing to try again")
    return some_of(spec, again)


def _listed(output: Path, job: str) -> Iterator[str]:
    """The images of a job that did not come to its end; the list of one that did is gone."""
    try:
        for entry in read_entries(output, job):
            yield from entry.images
    except FileNotFoundError:
        return
