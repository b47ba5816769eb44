"""A job goes in, its results land, whatever fails on the way. `Client` is for programs, imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.client import Client
    from workers.connecting import connect
    from workers.status import Status

__all__ = ["Client", "Status", "connect"]

_HOME = {"Client": "workers.client", "Status": "workers.status", "connect": "workers.connecting"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
