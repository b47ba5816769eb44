"""Boxes of a picture through a network, each one cut out with its surroundings and warped to the network's input.

Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic segmentation",
CVPR 2014, appendix A: the box is enlarged until it has `p` pixels of context around it in the warped picture (16 at
227), and warped whatever its aspect; what lies beyond the picture is the mean, which the network sees as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.boxmasks import cut_out, surroundings
from pipelines.card import InputSpec
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Boxes, Image, Tensor

CONTEXT = 227 / (227 - 2 * 16)  # how many times as wide and high as the box, as published
TOGETHER = 32  # regions in one run


def run_regions(
    pixels: Image, boxes: Boxes, spec: InputSpec, run: Callable[[Tensor], Sequence[Tensor]], context: float = CONTEXT
) -> list[Tensor]:
    """Run a network on every box of a picture, in batches.

    pixels: (H, W, 3) uint8 RGB. boxes: (N, 4) float32, x1 y1 x2 y2 in pixels, N of 1 or more. spec: the network's
    input, square and of any batch size. context: how many times as wide and high as its box a region is.
    Returns one array an output of the network, (N, …).
    """
    workspace = Workspace()
    parts: list[Sequence[Tensor]] = []
    for start in range(0, len(boxes), TOGETHER):
        batch = boxes[start : start + TOGETHER]
        tensor = workspace.array("batch", (len(batch), 3, spec.height, spec.width), spec.dtype)
        for place, box in zip(tensor, batch, strict=True):
            place[:] = to_tensor(cut_out(pixels, surroundings(box, context), spec.height), spec, workspace)[0]
        parts.append(run(tensor))
    return [np.concatenate(output) for output in zip(*parts, strict=True)]
