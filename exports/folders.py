"""Where weights come from: the mirror an administrator names, and whether the network may be asked."""

from __future__ import annotations

import os


def mirror() -> str | None:
    """The mirror that is tried first: a folder or an http(s) address, from `PIXELMILL_WEIGHTS`; None if not set."""
    return os.environ.get("PIXELMILL_WEIGHTS") or None


def offline() -> bool:
    """Whether `PIXELMILL_OFFLINE` forbids the network."""
    return os.environ.get("PIXELMILL_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")
