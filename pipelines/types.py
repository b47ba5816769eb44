"""Names for arrays, so that a signature says what an array means."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB, upright
Tensor: TypeAlias = NDArray[Any]  # what a session takes or gives
FloatArray: TypeAlias = NDArray[np.float32]
Boxes: TypeAlias = NDArray[np.float32]  # (N, 4) x1 y1 x2 y2 in pixels
Scores: TypeAlias = NDArray[np.float32]  # (N,) in [0, 1]
ClassIds: TypeAlias = NDArray[np.int64]  # (N,) index into the model's class names
Mask: TypeAlias = NDArray[np.bool_]  # (H, W)
