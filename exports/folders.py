"""Where weights lie: the per-user cache, and the mirror an administrator names."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The per-user cache of Pixelmill; `PIXELMILL_CACHE` overrides it. Not created here.

    Linux: `$XDG_CACHE_HOME/pixelmill` or `~/.cache/pixelmill` (XDG Base Directory Specification); macOS:
    `~/Library/Caches/pixelmill`; Windows: `%LOCALAPPDATA%\\pixelmill\\cache`.
    """
    if chosen := os.environ.get("PIXELMILL_CACHE"):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "pixelmill"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "pixelmill" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "pixelmill"


def weights_folder() -> Path:
    """Where fetched weights lie inside the cache."""
    return cache_folder() / "weights"


def mirror() -> str | None:
    """The mirror that is tried first: a folder or an http(s) address, from `PIXELMILL_WEIGHTS`; None if not set."""
    return os.environ.get("PIXELMILL_WEIGHTS") or None


def offline() -> bool:
    """Whether `PIXELMILL_OFFLINE` forbids the network."""
    return os.environ.get("PIXELMILL_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")
