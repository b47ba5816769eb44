"""What SRC means: a file, a folder, a glob or a list file becomes a root and names below it, in one stable order."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.errors import SourceError
from workers.jobs import LONGEST_NAME

# Files in a folder that are taken for images; anything named outright (a file, a glob, a list) is taken at its word.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
)
LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})


@dataclass(frozen=True, slots=True)
class Found:
    """One image file: its name below the root, its size in bytes, its modification time in nanoseconds."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where images come from.

    root: the folder their names are relative to.
    names: given outright; None for the whole folder.
    """

    root: Path
    names: tuple[str, ...] | None = None

    def scan(self) -> Iterator[Found]:
        """Find the images, in the order of `sort_key`.

        A name given outright whose file is missing is found with size -1. Hidden files and folders are passed over,
        links to folders are not followed.
        """
        if self.names is None:
            yield from _walk(self.root, "")
            return
        for name in self.names:
            try:
                stat = (self.root / name).stat()
                yield Found(name, stat.st_size, stat.st_mtime_ns)
            except OSError:
                yield Found(name, -1, 0)

    def count(self) -> int:
        """How many images `scan` will find; reads names only."""
        return len(self.names) if self.names is not None else sum(1 for _ in _walk_names(str(self.root)))


def sort_key(name: str) -> tuple[str, ...]:
    """The order of results: folder by folder, each by name."""
    return tuple(name.split("/"))


def open_source(text: str) -> Source:
    """Understand SRC: an image file, a folder (taken whole), a glob (quoted), or a list file with one path a line.

    Raises SourceError if it does not exist, matches nothing or can't be read.
    """
    if not text:
        raise SourceError("SRC is empty: give an image, a folder, a glob (in quotes) or a list file")
    path = Path(os.path.expanduser(text))  # pathlib's raises for a name like ~photo.jpg
    try:
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            if path.suffix.lower() in LIST_SUFFIXES:
                return _list(path)
            return Source(path.parent.resolve(), (path.name,))
        if glob.has_magic(text):
            return _glob(text)
    except OSError as error:
        raise SourceError(f"{text} can't be read: {error.strerror or error}") from error
    if path.exists():
        raise SourceError(f"{text} is neither a file nor a folder: give an image, a folder, a glob or a list file")
    raise SourceError(f"{text} does not exist: give an image, a folder, a glob (in quotes) or a list file")


def _folder(path: Path) -> Source:
    source = Source(path.resolve())
    os.scandir(path).close()  # an unreadable folder is an error, not an empty one
    if next(_walk_names(str(source.root)), None) is None:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise SourceError(f"folder {path} holds no images ({suffixes}), nor do the folders in it")
    return source


def _glob(text: str) -> Source:
    matches = [p for p in glob.glob(os.path.expanduser(text), recursive=True) if Path(p).is_file()]
    if not matches:
        raise SourceError(f"glob {text!r} matches no file (folders are taken whole: give the folder itself)")
    return named_files(matches)


def _list(path: Path) -> Source:
    lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    entries: list[str] = []
    for number, line in enumerate(lines, start=1):
        entry = os.fsdecode(line).strip()
        if "\0" in entry or len(entry) > LONGEST_NAME:
            raise SourceError(f"list file {path}: line {number} can't be a path; write one path a line, as text")
        if entry and not entry.startswith("#"):
            entries.append(os.path.join(path.parent, os.path.expanduser(entry)))
    if not entries:
        raise SourceError(f"list file {path} names no image: write one path a line")
    return named_files(entries)


def named_files(paths: list[str]) -> Source:
    """Take files from anywhere at their word: their root is the deepest folder above all of them."""
    absolute = [os.path.abspath(path) for path in paths]
    root = Path(os.path.commonpath([os.path.dirname(path) for path in absolute]))
    names = {os.path.relpath(path, root) for path in absolute}
    return Source(root, tuple(sorted(names, key=sort_key)))


def _walk(root: Path, below: str) -> Iterator[Found]:
    for name in _walk_names(str(root), below):
        try:
            stat = (root / name).stat()
        except OSError:
            yield Found(name, -1, 0)
            continue
        yield Found(name, stat.st_size, stat.st_mtime_ns)


def _walk_names(root: str, below: str = "") -> Iterator[str]:
    """Names below `root` in the order of `sort_key`."""
    entries: list[tuple[str, bool]] = []
    try:
        with os.scandir(os.path.join(root, below)) as listing:
            for entry in listing:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    entries.append((entry.name, True))
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    entries.append((entry.name, False))
    except OSError as error:
        if not below:
            raise SourceError(f"folder {root} can't be read any more: {error.strerror or error}") from error
        # a folder that can't be listed becomes one failed image of its name, so that nobody believes it was empty
        yield below
        return
    entries.sort()
    for name, is_folder in entries:
        path = f"{below}/{name}" if below else name
        if is_folder:
            yield from _walk_names(root, path)
        else:
            yield path
