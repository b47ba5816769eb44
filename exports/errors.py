"""Everything that can go wrong in this room; all of it is a `PixelmillError`.

PixelmillError
├── MissingLibraryError   a library of the export extra is not installed
├── WeightsError          weights can't be fetched, verified, read, or don't fit the network
└── DescribeError         a network can't be described, or a layer contradicts its own size rule
"""

from __future__ import annotations

from pipelines.errors import PixelmillError


class MissingLibraryError(PixelmillError):
    """A library that only the export extra brings is not installed."""


class WeightsError(PixelmillError):
    """Weights can't be fetched, don't have the checksum they should, can't be read, or belong to another network."""


class DescribeError(PixelmillError):
    """A network can't be described, or a layer's traced size differs from what its own numbers give."""
