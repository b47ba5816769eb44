"""Keep the libraries that decode pictures from writing on stderr about them.

OpenCV's libjpeg and Pillow's libtiff print a line about each damage they meet. What matters of it is in the
ImageError; the line itself would stand among a worker's JSON logs, or in somebody's notebook. They can't be told
through Python, so:

- Pillow's own logger gets a handler, or Python would print its errors where nobody has set up logging;
- libtiff, which Pillow brings or shares, is given no handlers for errors and warnings;
- libjpeg and libpng are inside OpenCV and write to C's `stderr`: for the time of a decode that variable names a file in
  memory that nobody reads. Python, C++ and whoever writes to file descriptor 2 do not use it.

Only with glibc, where `stderr` may be assigned to; elsewhere the lines appear.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import platform
import threading
from collections.abc import Iterator

from PIL import _imaging

_ENOUGH = 4096  # bytes; what does not fit is dropped


class _Stderr:
    """C's stderr in this process, and how many decodes want it hushed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decodes = 0
        self._variable: ctypes.c_void_p | None = None
        self._nowhere: int | None = None
        self._before: int | None = None
        if platform.libc_ver()[0] == "glibc":
            libc = ctypes.CDLL(None)
            libc.fmemopen.restype = ctypes.c_void_p
            self._variable = ctypes.c_void_p.in_dll(libc, "stderr")
            # not /dev/null: a program that closes every descriptor would have us write into what it opens next
            self._nowhere = libc.fmemopen(None, ctypes.c_size_t(_ENOUGH), b"w")

    def hush(self) -> None:
        with self._lock:
            self._decodes += 1
            if self._decodes == 1 and self._variable is not None and self._nowhere is not None:
                self._before, self._variable.value = self._variable.value, self._nowhere

    def unhush(self) -> None:
        with self._lock:
            self._decodes -= 1
            if self._decodes == 0 and self._variable is not None and self._before is not None:
                self._variable.value, self._before = self._before, None

    def forget(self) -> None:
        """A forked child has none of its parent's decodes, and perhaps its lock in use."""
        self._lock = threading.Lock()
        self._decodes = 1
        self.unhush()


_stderr = _Stderr()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stderr.forget)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what C writes to `stderr` from appearing; many threads may be inside at once."""
    _stderr.hush()
    try:
        yield
    finally:
        _stderr.unhush()


def hush_pillow() -> None:
    """Keep Pillow's logger from printing by itself, and take the handlers from the libtiff it uses."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(OSError, AttributeError):  # not where it is found this way: its lines appear
        pillow = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = getattr(pillow, name)
            setter.restype = ctypes.c_void_p
            setter(None)
