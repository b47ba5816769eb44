"""What a program gives as input: paths, folders, globs, list files and the bytes of images, one or many, mixed.

Bytes are stored beside the results, once each, under their checksum, because messages carry references, never pixels:

    DST/.pixelmill/inputs/<sha256>
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from workers.atomic import write_atomically
from workers.errors import OutputError, SourceError
from workers.folder import LIST_SUFFIXES, Source, named_files, open_source
from workers.journal import STATE
from workers.settings import Settings

Input: TypeAlias = str | Path | bytes

_SHOWN = 3


def gather(inputs: Input | Sequence[Input], output: Path, config: Settings) -> tuple[str, Source | None]:
    """Turn what a program gives into what a job is about.

    output: where bytes are stored; nothing else is written.
    Returns how it is called, and what it means; None for a single path, which means what it says.
    Raises SourceError for an input that is not there or too large, OutputError if bytes can't be stored.
    """
    if isinstance(inputs, str | Path):
        return str(inputs), None
    if isinstance(inputs, bytes):
        inputs = [inputs]
    if not inputs:
        raise SourceError("there are no inputs: give a file, a folder, a glob, a list file, bytes, or several of these")
    store = _Uploads(Path(os.path.realpath(os.path.expanduser(output))), config)  # noqa: PTH111 - must not raise
    paths: list[str] = []
    for one in inputs:
        paths += [store.keep(one)] if isinstance(one, bytes) else _paths(str(one))
    return _say(inputs), named_files(paths)


def _paths(text: str) -> list[str]:
    """The files that an entry of a sequence means; a file is taken at its word, so a missing one becomes a failure."""
    path = Path(text)
    if path.suffix.lower() in LIST_SUFFIXES or path.is_dir() or (not path.exists() and any(c in text for c in "*?[")):
        source = open_source(text)
        return [os.path.join(source.root, found.name) for found in source.scan()]  # noqa: PTH118 - a million of them
    return [text]


def _say(inputs: Sequence[Input]) -> str:
    words = [f"{len(one)} bytes" if isinstance(one, bytes) else str(one) for one in inputs[:_SHOWN]]
    return ", ".join(words) + (f" and {len(inputs) - _SHOWN:,} more" if len(inputs) > _SHOWN else "")


class _Uploads:
    """The bytes of images, kept beside the results."""

    def __init__(self, output: Path, config: Settings) -> None:
        self._folder = output / STATE / "inputs"
        self._config = config
        self._held: int | None = None

    def keep(self, data: bytes) -> str:
        """Store an image's bytes unless they are there already; gives their path."""
        if len(data) > self._config.max_bytes:
            raise SourceError(
                f"an image of {len(data):,} bytes is larger than {self._config.max_bytes:,} (PIXELMILL_MAX_BYTES)"
            )
        path = self._folder / hashlib.sha256(data).hexdigest()
        if path.exists():
            return str(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._held is None:
                self._held = sum(entry.stat().st_size for entry in os.scandir(self._folder))
            if self._held + len(data) > self._config.max_uploads:
                raise SourceError(
                    f"{self._folder} holds {self._held:,} bytes, with {len(data):,} more it would be above "
                    f"{self._config.max_uploads:,} (PIXELMILL_MAX_UPLOADS): give paths instead of bytes"
                )
            with write_atomically(path) as file:
                file.write(data)
        except OSError as error:
            raise OutputError(f"{error.filename or path} can't be written: {error.strerror or error}") from error
        self._held += len(data)
        return str(path)
