"""A file is whole or absent: written under a temporary name beside its place, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LONGEST_NAME = 255  # bytes, on every common file system
_TEMPORARY = re.compile(r"\.(.*)\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)
_SURELY_WHOLE = 200  # bytes of a name that are never cut in a temporary one


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Give a binary file that becomes `path` when the block ends well, and vanishes when it does not.

    A reader of `path` sees the old content or the new one, never a part; a power cut changes nothing about that. The
    folder must exist. Raises OSError when the disk is full or the folder can't be written.
    """
    temporary = path.parent / temporary_name(path.name)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_name(name: str) -> str:
    """Give a hidden name nobody else uses: `.{name}.{pid}.{random}.tmp`, `name` cut where it would grow too long."""
    tail = f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    room = _LONGEST_NAME - len(tail) - 1
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return f".{name}{tail}"


def is_temporary_name(name: str) -> bool:
    """Whether `temporary_name` may have given this name."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporaries(path: Path) -> None:
    """Remove what killed processes left that were about to write this file."""
    if not path.parent.is_dir():
        return
    with os.scandir(path.parent) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name) if entry.name.startswith(".") else None
            if found is None:
                continue
            name = found[1]
            cut = len(os.fsencode(name)) > _SURELY_WHOLE and path.name.startswith(name)
            if cut or name == path.name:
                Path(entry.path).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    if os.name == "nt":  # Windows can't open a folder; NTFS journals the rename
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
