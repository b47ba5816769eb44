"""A fitted picture becomes the network's tensor, in buffers that are used again and again.

Every thread keeps its own: a fresh buffer of 3–5 MB a picture is paid for in page faults.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipelines.card import InputSpec
from pipelines.types import Image, Tensor


class Workspace:
    """Named buffers of one thread; asking again for the same name and shape gives the same memory."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Give a buffer of this shape, with whatever was in it."""
        wanted = int(np.prod(shape))
        flat = self._arrays.get(name)
        if flat is None or flat.size < wanted or flat.dtype != np.dtype(dtype):
            flat = self._arrays[name] = np.empty(wanted, dtype)
        array: NDArray[Any] = flat[:wanted].reshape(shape)
        return array


def to_tensor(fitted: Image, spec: InputSpec, workspace: Workspace) -> Tensor:
    """Turn a fitted picture into the network's input for a batch of one.

    fitted: (h, w, 3) uint8 RGB.
    Returns (1, C, h, w), (1, h, w, C) or (C, h, w) as `spec.layout` says, of `spec.dtype`: (pixel − mean) / std in the
    channel order of `spec.colour`. The memory belongs to the workspace and is overwritten by the next picture.
    """
    height, width = fitted.shape[:2]
    if spec.colour == "GRAY":
        # ITU-R BT.601 luma, the rule of OpenCV and Pillow
        planes = [cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY, dst=workspace.array("grey", (height, width), np.uint8))]
    else:
        order = (0, 1, 2) if spec.colour == "RGB" else (2, 1, 0)
        split = cv2.split(fitted, list(workspace.array("planes", (3, height, width), np.uint8)))
        planes = [split[channel] for channel in order]

    dtype = np.dtype(spec.dtype)
    tensor = workspace.array("tensor", (1, len(planes), height, width), dtype)
    for plane, target, mean, std in zip(planes, tensor[0], spec.mean, spec.std, strict=True):
        if dtype == np.float32:
            # widen first, then work in place: measured 1.2–1.8 times as fast as a mixed-type multiply
            np.copyto(target, plane)
            if mean:
                target -= np.float32(mean)
            target *= np.float32(1 / std)
        elif dtype == np.uint8:
            np.copyto(target, plane)
        else:
            np.copyto(target, (plane.astype(np.float32) - mean) / std, casting="same_kind")
    if spec.layout == "CHW":
        single: Tensor = tensor[0]
        return single
    if spec.layout == "NHWC":
        return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
    return tensor
