"""Photographs to repaint, cut at random, and the paintings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from exports.errors import ExportError
from pipelines.types import Image

HELD_OUT = 12  # of the photographs, the last ones by name: to measure by
_LEAST = 0.4  # of a photograph's shorter side: the smallest square that is cut


def read(path: Path) -> Image:
    """A picture as (H, W, 3) uint8 RGB. Raises ExportError where it can't be read."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ExportError(f"{path} is no picture that can be read: place it there again")
    return pixels  # type: ignore[return-value]


def photographs(data: Path) -> tuple[list[Image], list[Image]]:
    """The photographs of `coco128`: to train on, and held out."""
    pictures = [read(path) for path in _paths(data)]
    return pictures[:-HELD_OUT], pictures[-HELD_OUT:]


def held_out_paths(data: Path) -> list[Path]:
    """Where the photographs lie that are held out."""
    return _paths(data)[-HELD_OUT:]


def _paths(data: Path) -> list[Path]:
    folder = data / "coco128" / "images"
    paths = sorted(folder.rglob("*.jpg"))
    if len(paths) <= HELD_OUT:
        raise ExportError(f"{folder} has {len(paths)} photographs, {HELD_OUT + 1} are the least: set PIXELMILL_DATA")
    return paths


def painting(path: Path, side: int) -> Tensor:
    """A painting with its shorter side at `side` pixels: (1, 3, H, W) float32, RGB 0–255."""
    pixels = read(path)
    scale = side / min(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return as_tensor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[None])  # type: ignore[arg-type]


def crops(pictures: list[Image], count: int, side: int, random: np.random.Generator) -> Tensor:
    """Random squares of random photographs, half of them mirrored: (count, 3, side, side) float32, RGB 0–255."""
    return as_tensor(np.stack([_crop(pictures[random.integers(len(pictures))], side, random) for _ in range(count)]))


def middles(pictures: list[Image], side: int) -> Tensor:
    """The largest square in the middle of every picture: (N, 3, side, side) float32, RGB 0–255."""
    squares = []
    for pixels in pictures:
        edge = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - edge) // 2, (pixels.shape[1] - edge) // 2
        square = pixels[top : top + edge, left : left + edge]
        squares.append(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    return as_tensor(np.stack(squares))


def as_tensor(pictures: Image) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32))


def _crop(pixels: Image, side: int, random: np.random.Generator) -> Image:
    height, width = pixels.shape[:2]
    edge = max(1, round(min(height, width) * random.uniform(_LEAST, 1)))
    top, left = random.integers(height - edge + 1), random.integers(width - edge + 1)
    square = pixels[top : top + edge, left : left + edge]
    if random.random() < 0.5:
        square = square[:, ::-1]
    # shrinking wants the mean of an area; enlarging does not
    way = cv2.INTER_AREA if edge > side else cv2.INTER_CUBIC
    return cv2.resize(square, (side, side), interpolation=way)  # type: ignore[return-value]
