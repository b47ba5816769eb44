"""What a program gives as input: paths, folders, globs, list files, URIs and the bytes of images, one or many, mixed.

Bytes are stored beside the results, once each, under their checksum, because messages carry references, never pixels:

    DST/.pixelmill/inputs/<sha256>
    DST/.pixelmill/inputs/uris/<scheme>/<host>/<path>
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from workers.atomic import write_atomically
from workers.errors import OutputError, SourceError
from workers.folder import LIST_SUFFIXES, Source, named_files, open_source
from workers.journal import STATE
from workers.settings import Settings, without_secrets

Input: TypeAlias = str | Path | bytes

_SHOWN = 3
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def gather(inputs: Input | Sequence[Input], output: Path, config: Settings) -> tuple[str, Source | None]:
    """Turn what a program gives into what a job is about.

    output: where bytes, and what URIs name, are stored; nothing else is written.
    Returns how it is called, and what it means; None for a single path, which means what it says.
    Raises SourceError for an input that is not there or too large, OutputError if bytes can't be stored.
    """
    if isinstance(inputs, str | Path) and not is_uri(inputs):
        return str(inputs), None
    if isinstance(inputs, bytes | str | Path):
        inputs = [inputs]
    if not inputs:
        raise SourceError("there are no inputs: give a file, a folder, a glob, a list file, bytes, or several of these")
    store = Uploads(Path(os.path.realpath(os.path.expanduser(output))), config)  # noqa: PTH111 - must not raise
    paths: list[str] = []
    for one in inputs:
        if not is_uri(one):
            paths += [store.keep(one)] if isinstance(one, bytes) else paths_of(str(one))
    uris = [str(one) for one in inputs if is_uri(one)]
    if uris:
        from workers.uris import fetch_all

        paths += fetch_all(uris, store, config)
    return _say(inputs), named_files(paths)


def is_uri(one: Input) -> bool:
    """Whether an input is a URI, and neither a path nor bytes."""
    return isinstance(one, str) and _URI.match(one) is not None and not os.path.lexists(one)


def paths_of(text: str) -> list[str]:
    """The files that an entry of a sequence means; a file is taken at its word, so a missing one becomes a failure."""
    path = Path(text)
    if path.suffix.lower() in LIST_SUFFIXES or path.is_dir() or (not path.exists() and any(c in text for c in "*?[")):
        source = open_source(text)
        return [os.path.join(source.root, found.name) for found in source.scan()]  # noqa: PTH118 - a million of them
    return [text]


def _say(inputs: Sequence[Input]) -> str:
    words = [
        f"{len(one)} bytes" if isinstance(one, bytes) else without_secrets(str(one)) if is_uri(one) else str(one)
        for one in inputs[:_SHOWN]
    ]
    return ", ".join(words) + (f" and {len(inputs) - _SHOWN:,} more" if len(inputs) > _SHOWN else "")


class Uploads:
    """The bytes of images, kept beside the results; many threads may store."""

    def __init__(self, output: Path, config: Settings) -> None:
        self._folder = output / STATE / "inputs"
        self._config = config
        self._held: int | None = None
        self._lock = Lock()

    def keep(self, data: bytes) -> str:
        """Store an image's bytes under their checksum unless they are there already; gives their path."""
        if len(data) > self._config.max_bytes:
            raise SourceError(
                f"an image of {len(data):,} bytes is larger than {self._config.max_bytes:,} (PIXELMILL_MAX_BYTES)"
            )
        path = self._folder / hashlib.sha256(data).hexdigest()
        if not path.exists():
            self._write(path, data)
        return str(path)

    def keep_as(self, name: str, data: bytes) -> str:
        """Store bytes under a name below the folder; a file that has them already keeps its time. Gives their path."""
        path = self._folder / name
        try:
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return str(path)
        except OSError:  # not there, mostly; if it is something else, writing says so
            pass
        self._write(path, data)
        return str(path)

    def forget(self, name: str) -> str:
        """Remove what is stored under a name, if anything; gives its path."""
        path = self._folder / name
        with contextlib.suppress(OSError):
            path.unlink()
        return str(path)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            with self._lock:
                self._take_room(len(data))
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as file:
                file.write(data)
        except OSError as error:
            raise OutputError(f"{error.filename or path} can't be written: {error.strerror or error}") from error

    def _take_room(self, size: int) -> None:
        if self._held is None:
            self._held = sum(one.stat().st_size for one in self._folder.rglob("*") if one.is_file())
        if self._held + size > self._config.max_uploads:
            raise SourceError(
                f"{self._folder} holds {self._held:,} bytes, with {size:,} more it would be above "
                f"{self._config.max_uploads:,} (PIXELMILL_MAX_UPLOADS): give paths instead of bytes and URIs"
            )
        self._held += size
