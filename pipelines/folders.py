"""Where things of this user lie on this machine. Nothing is created here."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The per-user cache of Pixelmill; `PIXELMILL_CACHE` overrides it.

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
    """Where weights that `pixelmill export` fetched lie inside the cache."""
    return cache_folder() / "weights"
