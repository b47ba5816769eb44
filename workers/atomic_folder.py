"""A folder is whole, old or absent: filled under a temporary name beside its place, then exchanged for the old one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from workers.atomic import is_temporary_name, temporary_name


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `path` when the block ends well, and vanishes when it does not.

    What was in the old folder is gone then. A reader of `path` sees the old folder, the new one or, for a moment, none;
    a process killed in that moment leaves none. Files are not synced: what a power cut takes from such a folder can be
    written again from the results. The folder around it must exist. Raises OSError as `Path.mkdir` and `Path.rename`.
    """
    temporary = path.parent / temporary_name(path.name)
    temporary.mkdir()
    try:
        yield temporary
        if os.path.lexists(path):
            old = path.parent / temporary_name(path.name)
            path.rename(old)
            temporary.rename(path)
            remove(old)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Remove a folder with all in it, or a file, or a link but not what it leads to; nothing is fine too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_temporary_folders(parent: Path) -> None:
    """Remove what killed processes left that were about to fill or to replace a folder in `parent`."""
    with os.scandir(parent) as entries:
        left = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    for folder in left:
        if is_temporary_name(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
