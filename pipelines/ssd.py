"""The boxes of a single-shot detector (SSD): default boxes ("anchors") and the decoding of offsets against them.

Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2 (default boxes, equation 4) and
equation 2 (offsets). Where the TensorFlow object detection API, whose networks these are, departs from the paper
(`MultipleGridAnchorGenerator`, `FasterRcnnBoxCoder`), the graph is followed and the difference is said below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipelines.types import FloatArray


def anchors(decode: Mapping[str, Any]) -> FloatArray:
    """Give the anchors of an SSD in the order of its outputs.

    decode: the `decode` entry of the model's card:
        anchor_grids: (rows, columns) of every feature map, finest first.
        min_scale, max_scale: anchor size on the first and the last map, as a share of the picture's side; linear in
            between (paper, equation 4).
        aspect_ratios: width / height of the anchors of one cell.
        reduce_boxes_in_lowest_layer: the first map gets three anchors only, of which the first is a square of scale 0.1
            (not in the paper: TensorFlow's choice).
        interpolated_scale_aspect_ratio: aspect ratio of one anchor more, whose scale is the geometric mean of this
            map's and the next one's (1.0 after the last); 0 for none.
    Returns (A, 4) float32: centre y, centre x, height, width, each as a share of the picture's side. Row by row, cell
    by cell, anchor by anchor; not clipped. Read-only, because it is remembered.
    """
    return _anchors(
        tuple((int(rows), int(columns)) for rows, columns in decode["anchor_grids"]),
        float(decode["min_scale"]),
        float(decode["max_scale"]),
        tuple(float(ratio) for ratio in decode["aspect_ratios"]),
        bool(decode["reduce_boxes_in_lowest_layer"]),
        float(decode["interpolated_scale_aspect_ratio"]),
    )


def decode_boxes(encodings: FloatArray, anchors: FloatArray, scales: Sequence[float]) -> FloatArray:
    """Turn a network's offsets into boxes.

    encodings: (A, 4) float32, offsets ty tx th tw.
    anchors: (A, 4) float32, centre y, centre x, height, width as a share of the picture's side.
    scales: what ty tx th tw are multiplied by in training, 10 10 5 5 (the paper's code calls their inverses variances).
    Returns (A, 4) float32, x1 y1 x2 y2 as a share of the picture's side, not clipped.
    """
    ty, tx, th, tw = (encodings / np.asarray(scales, np.float32)).T
    cy, cx, h, w = anchors.T
    half_h, half_w = h * np.exp(th) / 2, w * np.exp(tw) / 2
    y, x = cy + ty * h, cx + tx * w
    boxes: FloatArray = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=1).astype(np.float32)
    return boxes


@lru_cache(maxsize=8)
def _anchors(
    grids: tuple[tuple[int, int], ...],
    min_scale: float,
    max_scale: float,
    ratios: tuple[float, ...],
    reduce_lowest: bool,
    interpolated_ratio: float,
) -> FloatArray:
    steps = max(len(grids) - 1, 1)
    scales = [min_scale + (max_scale - min_scale) * k / steps for k in range(len(grids))] + [1.0]
    maps = []
    for k, (rows, columns) in enumerate(grids):
        if k == 0 and reduce_lowest:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[k], ratio) for ratio in ratios]
            if interpolated_ratio > 0:
                shapes.append((float(np.sqrt(scales[k] * scales[k + 1])), interpolated_ratio))
        scale, ratio = np.array(shapes).T
        cell = np.empty((rows, columns, len(shapes), 4))
        cell[..., 0] = ((np.arange(rows) + 0.5) / rows)[:, None, None]
        cell[..., 1] = ((np.arange(columns) + 0.5) / columns)[None, :, None]
        cell[..., 2] = scale / np.sqrt(ratio)
        cell[..., 3] = scale * np.sqrt(ratio)
        maps.append(cell.reshape(-1, 4))
    boxes: FloatArray = np.concatenate(maps).astype(np.float32)
    boxes.setflags(write=False)
    return boxes
