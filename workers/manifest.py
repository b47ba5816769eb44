"""The list of a job's images, cut into shards, in a file beside its results: written once, read line by line.

    DST/.pixelmill/jobs/<job>.jsonl      one line a shard: a JSON array of names

A line counts only if it is whole and ends in a newline, so the list may be read while it is still written. Nobody holds
it in memory: whoever feeds the job remembers the byte where the next shard's line begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from workers.atomic import sync_folder
from workers.errors import OutputError
from workers.journal import STATE

_FOLDER = "jobs"


def manifest_path(output: Path, job: str) -> Path:
    """Where the list of a job's images is."""
    return output / STATE / _FOLDER / f"{job}.jsonl"


class ManifestWriter:
    """The list while it is written; a context, which syncs the file when it ends well."""

    def __init__(self, output: Path, job: str) -> None:
        """Begin the list. Raises OSError if it can't be created."""
        self.path = manifest_path(output, job)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("xb", buffering=0)
        self.shards = 0
        self.images = 0

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
                sync_folder(self.path.parent)
        finally:
            self._file.close()

    def append(self, images: tuple[str, ...]) -> None:
        """Add a shard. Raises OSError when the disk is full."""
        self._file.write(json.dumps(images, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        self.shards += 1
        self.images += len(images)


@dataclass(frozen=True, slots=True)
class Entry:
    """A shard in the list. images: its names; end: the byte where the next shard's line begins."""

    images: tuple[str, ...]
    end: int


def read_entries(output: Path, job: str, offset: int = 0) -> Iterator[Entry]:
    """Read a job's shards from a byte on, as far as they are written.

    Raises OSError if the list can't be read, OutputError if a whole line of it is none of ours.
    """
    path = manifest_path(output, job)
    with path.open("rb") as file:
        file.seek(offset)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            offset += len(raw)
            try:
                names = json.loads(raw)
            except ValueError as error:
                raise OutputError(f"{path} is damaged before byte {offset}: {error}") from error
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                raise OutputError(f"{path} is damaged before byte {offset}: a line must be a list of names")
            yield Entry(tuple(names), offset)


def remove_manifest(output: Path, job: str) -> None:
    """Remove a job's list: nobody will ask for its images again."""
    manifest_path(output, job).unlink(missing_ok=True)


def sweep_manifests(output: Path) -> None:
    """Remove the lists of all jobs of an output folder; whoever does it holds the folder, and no job runs in it."""
    for path in (output / STATE / _FOLDER).glob("*.jsonl"):
        path.unlink(missing_ok=True)
