"""Everything that can go wrong in this room; all of it is a `PixelmillError`.

PixelmillError
├── MissingLibraryError   a library of the export extra is not installed
├── WeightsError          weights can't be fetched, verified, read, or don't fit the network
├── DescribeError         a network can't be described, or a layer contradicts its own size rule
├── ExportError           a network can't be exported as asked
├── ParityError           an export does not agree with its network, or lost more accuracy than allowed
└── AdoptError            a foreign file does not do what its card would say
"""

from __future__ import annotations

from pipelines.errors import PixelmillError


class MissingLibraryError(PixelmillError):
    """A library that only the export extra brings is not installed."""


class WeightsError(PixelmillError):
    """Weights can't be fetched, don't have the checksum they should, can't be read, or belong to another network."""


class DescribeError(PixelmillError):
    """A network can't be described, or a layer's traced size differs from what its own numbers give."""


class ExportError(PixelmillError):
    """A network can't be exported as asked: the exporter gives up, or an option does not suit the network."""


class ParityError(PixelmillError):
    """An export does not agree with the network it came from, or lost more accuracy than was allowed."""


class AdoptError(PixelmillError):
    """A foreign model file does not do what its card would say."""
