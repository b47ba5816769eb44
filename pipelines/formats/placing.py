"""Where an image's own file goes in a format's folder, and what of a name can stand in it.

A file goes where its image is and is called like it without the suffix, as the readers of these formats want it:
`x/a.jpg` has `x/a.txt`. Two images may want the same; the first has it (`a.jpg` before `a.png`, the order of results),
the next is called `a.png.txt`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

# Control characters, halves of characters (bytes of a file name that were no UTF-8) and what is no character at all:
# XML can't hold them, YAML and line-by-line files break on them.
_ILLEGIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_LONGEST = 120  # bytes kept of a name that is too long; there must be room for a mark and a suffix in 255
_TAKEN = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


def legible(text: str) -> str:
    """Replace what no text file can hold by U+FFFD."""
    return _ILLEGIBLE.sub("\ufffd", text)


def stems(image: str, avoid: str = "") -> Iterator[str]:
    """Give names without a suffix for the file that belongs to an image, the most wanted first, the last always free.

    image: its name below the job's root. avoid: a name no folder may have.
    No name leads out of the folder it is meant for. One whose characters can't stand in a text file has them replaced
    and is marked with a part of the original's checksum.
    """
    mark = "~" + hashlib.sha256(image.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    *folders, name = [_safe(part) for part in image.split("/")]
    folder = "".join(f"{part}_/" if part == avoid else f"{part}/" for part in folders)
    stem = PurePosixPath(name).stem.strip()  # lists of names are read with their edges stripped
    if stem in ("", ".", ".."):  # `...jpg`
        stem = name
    if "/".join([*folders, name]) == image and name.startswith(stem):
        yield folder + stem
        yield folder + name
    yield folder + _cut(stem) + mark
    yield _cut(stem) + mark


def claim(folder: Path, names: Iterator[str], suffix: str, content: bytes | Callable[[str], bytes]) -> str:
    """Write an image's file under the first of its names that is free. Returns that name, without the suffix.

    content: what the file holds; made from the name where it depends on that.
    Raises OSError if it can't be written for another reason than its name.
    """
    for name in names:
        path = folder / (name + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content if isinstance(content, bytes) else content(name))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        return name
    raise FileExistsError(errno.EEXIST, "every name for an image's file is taken", str(folder))


def way_to(root: Path, image: str, start: Path) -> str:
    """Give the relative path of an image below `root` as seen from the folder `start`, with links to folders resolved.

    Relative, so that results and pictures may move together.
    """
    target = Path(os.path.realpath(root)) / image
    try:
        return os.path.relpath(target, os.path.realpath(start))
    except ValueError:  # another drive of a Windows machine
        return str(target)


def link(place: Path, root: Path, image: str) -> bool:
    """Place a link to an image's file. Returns whether that could be done: not every file system has links."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(way_to(root, image, place.parent))
    except OSError:
        return False
    return True


def _safe(part: str) -> str:
    part = _ILLEGIBLE.sub("_", part).strip()
    return "_" if part in ("", ".", "..") else part


def _cut(text: str) -> str:
    return text.encode()[:_LONGEST].decode("utf-8", "ignore")
