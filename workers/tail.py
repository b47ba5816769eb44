"""Read a job's results while it runs: each image once, as soon as its line is on disk.

Until a job closes, its results are in the journals of its attempts; then they are merged into `results.jsonl` and the
journals are removed. Both are read here, so the reader needs the output folder, like the workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from workers.journal import RESULTS, Line, journal_folder, read_lines


class Tail:
    """Reads along. Remembers 16 bytes an image, so that nothing is given twice, whoever wrote it again or moved it."""

    def __init__(self, output: Path, job: str) -> None:
        self._output = output
        self._journals = journal_folder(output, job)
        self._read: dict[str, int] = {}  # journal → bytes read of it
        self._given: set[bytes] = set()

    def new(self) -> Iterator[Line]:
        """Give the results that were written into the journals since the last call."""
        try:
            paths = sorted(self._journals.glob("*.jsonl"))
        except OSError:  # removed while it was listed
            return
        for path in paths:
            yield from self._fresh(self._rest(path))

    def merged(self) -> Iterator[Line]:
        """Give what stands in `results.jsonl` and was not given before; call it when the job has ended."""
        yield from self._fresh(read_lines(self._output / RESULTS))

    def _rest(self, path: Path) -> Iterator[Line]:
        """The whole lines of a journal behind those read before."""
        offset = self._read.get(path.name, 0)
        try:
            if path.stat().st_size == offset:
                return
            with path.open("rb") as file:
                file.seek(offset)
                for raw in file:
                    if not raw.endswith(b"\n"):
                        break
                    offset += len(raw)
                    self._read[path.name] = offset
                    yield from _parsed(raw)
        except FileNotFoundError:  # merged meanwhile
            return

    def _fresh(self, lines: Iterator[Line]) -> Iterator[Line]:
        for line in lines:
            name: Any = line.get("image")
            if not isinstance(name, str):  # a journal also notes when work on an image begins
                continue
            digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest not in self._given:
                self._given.add(digest)
                yield line


def _parsed(raw: bytes) -> Iterator[Line]:
    try:
        line = json.loads(raw)
    except ValueError:
        return
    if isinstance(line, dict):
        yield line
