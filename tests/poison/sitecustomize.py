"""Images that kill: put this folder into a worker's PYTHONPATH, and a picture that ends in such a mark does its worst.

The mark stands behind the end of the JPEG, where decoders don't look, so everybody else sees a healthy picture. A
decoder with a defect is not something one can count on having at hand.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import Any

_MARK = b"POISON:"
_real = hashlib.sha256


def _die(how: str) -> None:
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "abort":
        os.abort()
    elif how == "exit":
        os._exit(3)
    elif how == "hang":
        time.sleep(3600)
    elif how == "memory":
        hoard = []
        while True:
            hoard.append(b"x" * 2**23)
    elif how == "raise":
        raise RuntimeError("a defect in a library")
    elif how == "refused":
        raise MemoryError


def _sha256(data: bytes = b"", **options: Any) -> Any:
    # the pipeline takes a picture's checksum just before it decodes it
    tail = bytes(data[-32:])
    if _MARK in tail:
        _die(tail.partition(_MARK)[2].decode())
    return _real(data, **options)


hashlib.sha256 = _sha256  # type: ignore[assignment]
