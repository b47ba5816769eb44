"""Memory given back to the system after a model was loaded, or kept from picture to picture."""

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


_KEPT = 32 << 20  # bytes that a thread may keep; two threads of `portrait` keep some 60 MB together
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 32 << 20  # glibc's own limit for an array that need not be mapped for itself


def keep_freed_memory() -> None:
    """Let arrays of one picture be reused for the next one, where the C library is glibc; else do nothing.

    A pipeline that computes with many arrays of a megabyte each gives them all back to the kernel after every picture,
    and the kernel clears each page before it hands it out again: a quarter of the time of `portrait`.
    """
    if sys.platform != "linux":
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_TRIM_THRESHOLD, _KEPT)
        tune(_M_MMAP_THRESHOLD, _LARGEST)
