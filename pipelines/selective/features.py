"""What tells regions apart: size, box, and histograms of colour and texture (Uijlings et al. 2013, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.types import FloatArray

COLOUR_BINS = 25  # a channel
TEXTURE_BINS = 10  # a channel and direction
DIRECTIONS = 8
_PER_BIN = 5.0  # change of a channel's value a pixel that one texture bin stands for; the last one is open
_DIFFERENCE = np.array([[-0.5, 0.0, 0.5]], np.float32)


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions of a picture.

    size: (R,) float64 pixels. box: (R, 4) int64, x1 y1 x2 y2, right and bottom exclusive.
    colour: (R, 25 C) float32 and texture: (R, 80 C) float32, histograms that sum to 1.
    pairs: (P, 2) int64, neighbours, the smaller number first, each pair once.
    """

    size: NDArray[np.float64]
    box: NDArray[np.int64]
    colour: FloatArray
    texture: FloatArray
    pairs: NDArray[np.int64]


def describe(picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> Regions:
    """Describe the regions of a picture.

    picture: (H, W, C) uint8. labels: (H, W) int32, numbers 0 … R − 1, each present.
    """
    count = int(labels.max()) + 1
    size = np.bincount(labels.ravel(), minlength=count)
    planes = [np.ascontiguousarray(picture[..., channel]) for channel in range(picture.shape[2])]
    colour = np.concatenate(
        [_histogram(labels, (plane.astype(np.int32) * COLOUR_BINS) >> 8, COLOUR_BINS, count) for plane in planes],
        axis=1,
    )
    texture = np.concatenate([part for plane in planes for part in _texture(plane, labels, count)], axis=1)
    return Regions(size.astype(np.float64), _boxes(labels, count), _shares(colour), _shares(texture), _pairs(labels))


def _histogram(labels: NDArray[np.int32], bins: NDArray[np.int32], many: int, count: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.bincount((labels * many + bins).ravel(), minlength=count * many)
    return found.reshape(count, many)


def _texture(plane: NDArray[np.uint8], labels: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    """Histograms of a channel's Gaussian derivative (σ = 1) in eight directions.

    A direction and its opposite share their values but for the sign, so one count of signed steps gives both.
    """
    smooth = cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1.0)
    across = cv2.filter2D(smooth, cv2.CV_32F, _DIFFERENCE)
    down = cv2.filter2D(smooth, cv2.CV_32F, _DIFFERENCE.T)
    last = TEXTURE_BINS - 1
    found = []
    for number in range(DIRECTIONS // 2):
        angle = np.pi * number / (DIRECTIONS // 2)
        steps = cv2.addWeighted(across, np.cos(angle) / _PER_BIN, down, np.sin(angle) / _PER_BIN, 0)
        signed = np.clip(steps, -last, last).astype(np.int32) + last
        both = _histogram(labels, signed, 2 * last + 1, count)
        forward, backward = both[:, last:].copy(), both[:, last::-1].copy()
        forward[:, 0] += both[:, :last].sum(axis=1)
        backward[:, 0] += both[:, last + 1 :].sum(axis=1)
        found += [forward, backward]
    return found


def _shares(counts: NDArray[np.int64]) -> FloatArray:
    shares: FloatArray = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _boxes(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    height, width = labels.shape
    flat = labels.ravel()
    box = np.zeros((count, 4), np.int64)
    rows = np.repeat(np.arange(height), width)
    # of repeated indices the last value stays: pixels come row by row, so forwards it is the bottom, backwards the top
    box[flat, 3] = rows + 1
    box[flat[::-1], 1] = rows[::-1]
    turned = np.ascontiguousarray(labels.T).ravel()
    columns = np.repeat(np.arange(width), height)
    box[turned, 2] = columns + 1
    box[turned[::-1], 0] = columns[::-1]
    return box


def _pairs(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    count = int(labels.max()) + 1
    keys = []
    for here, there in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = here != there
        a, b = here[differ].astype(np.int64), there[differ].astype(np.int64)
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
    found = np.unique(np.concatenate(keys))
    return np.stack([found // count, found % count], axis=1)
