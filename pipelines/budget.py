"""What a picture will take in memory, reckoned before it is allocated, and what a network's own complaint means.

A network at the picture's own size (`resize.rule` keep) has no bound of its own: twice the picture, twice the memory.
So what it will take is compared with `Limits.max_memory` first. Where the reckoning falls short, ONNX Runtime's refusal
is read here and becomes this picture's error.
"""

from __future__ import annotations

import math

import numpy as np

from pipelines.card import Card
from pipelines.errors import ImageError
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.params import Params, StylizeParams, TiledParams
from pipelines.results import Failure
from pipelines.types import Boxes

# Bytes a network allocates for a pixel of its input beyond that itself, measured from 1 to 16 megapixels with ONNX
# Runtime 1.32 on a CPU: a style network keeps its maps at full size; torchvision's detectors shrink what they get.
_INSIDE = {"transformer": 870}
_INSIDE_OTHERS = 35
_TO_FIT = 6  # bytes a pixel of the input: the fitted picture and its planes, 8 bits a channel
_NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "insufficient memory", "out of memory")
_NARROW = 64  # a side in pixels below which a network may have nothing left after halving five times


def check_input(card: Card, plan: Fit, params: Params, limits: Limits) -> None:
    """Refuse a picture whose way through the network would take more memory than the limit.

    Raises ImageError out_of_memory that says how much, the limit, and what to do.
    """
    spec = card.input
    pixels = math.prod(plan.padded)
    each = _TO_FIT + len(spec.mean) * np.dtype(spec.dtype).itemsize
    if spec.resize.rule == "keep":
        each += _INSIDE.get(card.family, _INSIDE_OTHERS)
    if 0 < limits.max_memory < pixels * each:
        height, width = plan.size
        largest = limits.max_memory / each / 1e6
        raise ImageError(
            "out_of_memory",
            f"a picture of {width}×{height} pixels would take about {_size(pixels * each)} in model {card.name!r}, "
            f"the limit is {_size(limits.max_memory)}: {_remedy(params)} ({largest:.1f} megapixels fit), "
            "or raise the limit",
        )


def check_boxes(boxes: Boxes, limits: Limits) -> None:
    """Refuse masks that would take more memory than the limit if each filled its box, a byte a pixel.

    boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the picture. Raises ImageError out_of_memory.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).astype(np.float64)
    check_masks(len(boxes), int((sides[:, 0] * sides[:, 1]).sum()), limits)


def check_masks(count: int, needed: int, limits: Limits) -> None:
    """Refuse to hold so many masks of so many bytes in all. Raises ImageError out_of_memory."""
    if 0 < limits.max_memory < needed:
        raise ImageError(
            "out_of_memory",
            f"the masks of {count} objects would take {_size(needed)}, the limit is {_size(limits.max_memory)}: ask "
            "for fewer with a higher score or a lower max_detections, make the picture smaller, or raise the limit",
        )


def explain(error: Exception, plan: Fit, card: Card, params: Params) -> Failure:
    """Say in words why a network failed on a picture, from what was raised.

    Returns out_of_memory if an allocation was refused, inference_failed for everything else.
    """
    if isinstance(error, ImageError):
        return Failure(error.code, str(error))
    height, width = plan.size
    # ONNX Runtime puts a whole traceback of its own into one text; the first line names the node and the reason
    said = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    if any(words in str(error).lower() for words in _NO_MEMORY):
        return Failure(
            "out_of_memory",
            f"there was not memory enough to run a picture of {width}×{height} pixels through model {card.name!r}: "
            f"{_remedy(params)}, or run fewer at once. It said: {said}",
        )
    if card.input.dynamic and min(plan.padded) < _NARROW:
        return Failure(
            "inference_failed",
            f"model {card.name!r} can't take a picture of {width}×{height} pixels: it is too small or too narrow for "
            f"this network; enlarge it or cut it to another shape. It said: {said}",
        )
    return Failure("inference_failed", f"the model failed: {said}")


def _remedy(params: Params) -> str:
    if isinstance(params, TiledParams | StylizeParams):
        return f"run it {'with smaller tiles' if params.tile else 'in tiles (--tile 1024)'} or make it smaller"
    return "make it smaller"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"
