"""Memory given back to the system after a model was loaded."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys


def release_free_memory() -> None:
    """Hand freed memory back to the kernel, where the C library is glibc; else do nothing.

    While a model loads, its stored weights, their fp32 copies and the packed copies the kernels use exist side by side.
    glibc keeps what is freed of that: 125 MB of 305 for the shipped detector (docs/performance.md), in every worker.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
