"""How a style network's normalisation is measured and kept: names in graphs that `exports.settable_norm` writes."""

from __future__ import annotations

import numpy as np

from pipelines.types import Tensor

OUTPUT = "normalisation"  # (B, 2T, 1, 1) float32: scales, then shifts, of T maps; empty unless measured
MEASURE = "normalisation.measure"  # optional input, bool
KEEP = "normalisation.keep"  # optional input, bool
GIVEN = "normalisation.given"  # optional input, (1, 2T, 1, 1) float32

_YES = np.ones((), np.bool_)


def measuring() -> dict[str, Tensor]:
    """What to give a network besides the picture, to get its normalisation."""
    return {MEASURE: _YES}


def keeping(normalisation: Tensor) -> dict[str, Tensor]:
    """What to give it besides a picture, to have the normalisation of another one applied."""
    return {KEEP: _YES, GIVEN: normalisation}
