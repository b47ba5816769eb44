"""Boxes, and the way of a picture into a network's input and of boxes back out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.card import InputSpec, Resize
from pipelines.types import Boxes, ClassIds, FloatArray, Image, Scores

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
# σ of the Gaussian before a reduction by s, in units of √(s² − 1); see `_resize`
_ANTIALIAS = {"bilinear": 6**-0.5, "bicubic": 0.46}
_AROUND = 8  # times the width that a crop keeps: more of a picture than that has no say in it
_AT_ONCE = 256  # boxes that suppression compares at once
_LEAST_SIGMA = 0.2  # pixels; below that a 3 × 3 Gaussian changes nothing that 8 bits can hold


@dataclass(frozen=True, slots=True)
class Fit:
    """How one picture lies in the network's input: network pixel = picture pixel × scale + shift.

    scale: (x, y) network pixels per pixel of the upright original.
    shift: (x, y) network pixels; negative where the picture was cropped.
    scaled: (height, width) of the whole picture in network pixels.
    padded: (height, width) of the network's input.
    size: (height, width) of the upright original.
    """

    scale: tuple[float, float]
    shift: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]
    size: tuple[int, int]

    def to_picture(self, boxes: Boxes, *, clip: bool = True) -> Boxes:
        """Map boxes from network pixels to pixels of the upright original, clipped to it unless told otherwise.

        boxes: (N, 4) float32, x1 y1 x2 y2 in network pixels.
        Returns (N, 4) float32.
        """
        height, width = self.size
        shift = np.array([*self.shift, *self.shift], np.float32)
        scale = np.array([*self.scale, *self.scale], np.float32)
        moved: Boxes = ((boxes - shift) / scale).astype(np.float32)
        if not clip:
            return moved
        inside: Boxes = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
        return inside

    def to_network(self, boxes: Boxes) -> Boxes:
        """Map boxes from pixels of the upright original to network pixels.

        boxes: (N, 4) float32, x1 y1 x2 y2.
        Returns (N, 4) float32, not clipped.
        """
        shift = np.array([*self.shift, *self.shift], np.float32)
        scale = np.array([*self.scale, *self.scale], np.float32)
        moved: Boxes = (boxes * scale + shift).astype(np.float32)
        return moved


def plan_fit(size: tuple[int, int], spec: InputSpec) -> Fit:
    """Decide where a picture of this size lies in the network's input.

    size: (height, width) of the upright original.
    A letterbox on a dynamic input pads to the next multiple of the stride, not to a square: on a 4:3 picture that
    spares the network a quarter of its work.
    """
    height, width = size
    resize = spec.resize
    target = (spec.height, spec.width)
    if resize.rule == "stretch":
        scale = (spec.width / width, spec.height / height)
        return Fit(scale, (0, 0), target, target, size)
    if resize.rule == "shorter-side":
        scaled = _to_shorter_side(size, resize.shorter_side or min(target), resize.longer_side)
        return Fit((scaled[1] / width, scaled[0] / height), (0, 0), scaled, _up_to_stride(scaled, resize.stride), size)
    if resize.rule == "crop":
        scaled = _to_shorter_side(size, resize.shorter_side or min(target))
        # torchvision's CenterCrop rounds half to even, like Python's round
        shift = (-round((scaled[1] - spec.width) / 2.0), -round((scaled[0] - spec.height) / 2.0))
        return Fit((scaled[1] / width, scaled[0] / height), shift, scaled, target, size)
    if resize.rule == "keep":
        return Fit((1.0, 1.0), (0, 0), size, _up_to_stride(size, resize.stride), size)

    ratio = min(spec.height / height, spec.width / width)
    scaled = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    padded = _up_to_stride(scaled, resize.stride) if spec.dynamic else target
    centred = ((padded[1] - scaled[1]) // 2, (padded[0] - scaled[0]) // 2)
    shift = centred if resize.anchor == "centre" else (0, 0)
    return Fit((scaled[1] / width, scaled[0] / height), shift, scaled, padded, size)


def fit(pixels: Image, plan: Fit, resize: Resize, out: Image) -> Image:
    """Put a picture into a network-sized canvas as planned.

    pixels: (h, w, 3) uint8, the picture, perhaps decoded smaller than `plan.size`.
    out: (*plan.padded, 3) uint8, overwritten and returned.
    """
    scaled_h, scaled_w = plan.scaled
    left, top = plan.shift
    if plan.scaled == plan.padded and not (left or top):
        return _resize(pixels, plan.scaled, resize, out)

    bottom = top + scaled_h
    if left == 0 and scaled_w == out.shape[1] and top >= 0 and bottom <= out.shape[0]:  # whole rows: no copy needed
        out[:top] = out[bottom:] = resize.pad_value
        _resize(pixels, plan.scaled, resize, out[top:bottom])
        return out

    if resize.rule == "crop":
        pixels, (scaled_h, scaled_w) = _middle(pixels, plan)
        top, left = -round((scaled_h - out.shape[0]) / 2), -round((scaled_w - out.shape[1]) / 2)
    whole = _resize(pixels, (scaled_h, scaled_w), resize)
    if left > 0 or top > 0 or scaled_h + top < out.shape[0] or scaled_w + left < out.shape[1]:
        out[:] = resize.pad_value
    target_top, target_left = max(0, top), max(0, left)
    source_top, source_left = max(0, -top), max(0, -left)
    rows = min(out.shape[0] - target_top, scaled_h - source_top)
    columns = min(out.shape[1] - target_left, scaled_w - source_left)
    out[target_top : target_top + rows, target_left : target_left + columns] = whole[
        source_top : source_top + rows, source_left : source_left + columns
    ]
    return out


def _middle(pixels: Image, plan: Fit) -> tuple[Image, tuple[int, int]]:
    """Take from a very long picture the middle that a crop is cut from, and say how large that has to become.

    A line of 1×40000 pixels whose shorter side becomes 256 would take 8 GB as a whole, of which 224 pixels are kept.
    """
    spans, scaled = [], []
    for length, target, kept in zip(pixels.shape, plan.scaled, plan.padded, strict=False):
        wanted = math.ceil(_AROUND * kept * length / target)
        spare = max(0, length - wanted) // 2
        spans.append(slice(spare, length - spare))
        scaled.append(round((length - 2 * spare) * target / length) if spare else target)
    return pixels[spans[0], spans[1]], (scaled[0], scaled[1])


def _resize(pixels: Image, size: tuple[int, int], resize: Resize, out: Image | None = None) -> Image:
    """Resize to (height, width); with `antialias` through a Gaussian that leaves what the smaller grid can hold.

    Pillow widens its kernel by the reduction s. A triangle s wide has the variance s²/6, the plain bilinear kernel 1/6,
    so a Gaussian of variance (s² − 1)/6 before it makes up the difference. For the bicubic kernel, whose variance is
    zero, the factor is the one that came nearest to Pillow by EfficientNet-Lite0's logits (its recipe's README).
    """
    if pixels.shape[:2] == size:
        if out is None:
            return pixels
        np.copyto(out, pixels)
        return out
    if resize.antialias and resize.interpolation in _ANTIALIAS:
        factor = _ANTIALIAS[resize.interpolation]
        sigma = tuple(
            factor * max(0.0, (old / new) ** 2 - 1) ** 0.5 for old, new in zip(pixels.shape, size, strict=False)
        )
        if max(sigma) > _LEAST_SIGMA:
            window = tuple(2 * max(1, round(2 * s)) + 1 for s in sigma)
            pixels = cv2.GaussianBlur(  # type: ignore[assignment]
                pixels, (window[1], window[0]), max(sigma[1], 1e-3), sigmaY=max(sigma[0], 1e-3)
            )
    resized: Image = cv2.resize(  # type: ignore[assignment]
        pixels, (size[1], size[0]), dst=out, interpolation=_INTERPOLATION[resize.interpolation]
    )
    return resized


def _to_shorter_side(size: tuple[int, int], side: int, most: int | None = None) -> tuple[int, int]:
    """torchvision's Resize: the shorter side exactly, the longer one truncated; both less if that exceeds `most`."""
    short, long = side, int(side * max(size) / min(size))
    if most is not None and long > most:
        short, long = max(1, int(most * short / long)), most
    return (short, long) if size[0] <= size[1] else (long, short)


def _up_to_stride(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def box_area(boxes: Boxes) -> FloatArray:
    """Area of every box; 0 for boxes of no extent.

    boxes: (N, 4) float32, x1 y1 x2 y2. Returns (N,) float32.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    area: FloatArray = sides[:, 0] * sides[:, 1]
    return area


def iou(a: Boxes, b: Boxes) -> FloatArray:
    """Intersection over union of every box of `a` with every box of `b`.

    a: (N, 4) float32, x1 y1 x2 y2 in pixels. b: (M, 4) float32, likewise.
    Returns (N, M) float32 in [0, 1]; 0 where both boxes have no area.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    ratio: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def nms(boxes: Boxes, scores: Scores, class_ids: ClassIds, threshold: float, limit: int) -> ClassIds:
    """Greedy non-maximum suppression within each class.

    boxes: (N, 4) float32, x1 y1 x2 y2. scores: (N,) float32. class_ids: (N,) int64.
    threshold: a box is dropped if its IoU with a better one of its class is greater than this.
    limit: keep at most so many.
    Returns (K,) int64, indices of the boxes kept, highest score first (ties in the order given).
    """
    order = np.argsort(-scores, kind="stable")
    if order.size == 0:
        return order.astype(np.int64)
    # Boxes of different classes never overlap once each class is moved to its own place.
    reach = np.float32(boxes.max() - min(boxes.min(), 0) + 1)
    apart = boxes + (class_ids.astype(np.float32) * reach)[:, None]
    areas = box_area(boxes)
    kept: list[int] = []
    while order.size > _AT_ONCE and len(kept) < limit:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        top_left = np.maximum(apart[best, :2], apart[rest, :2])
        sides = np.maximum(np.minimum(apart[best, 2:], apart[rest, 2:]) - top_left, 0)
        shared = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - shared
        order = rest[shared <= threshold * union]
    # so few that each is compared with each at once: a tenth of the time of one after the other
    over = _overlap(apart[order], areas[order], threshold)
    dropped = np.zeros(order.size, np.bool_)
    for place, number in enumerate(order.tolist()):
        if len(kept) == limit:
            break
        if not dropped[place]:
            kept.append(number)
            dropped |= over[place]
    return np.array(kept, np.int64)


def _overlap(boxes: Boxes, areas: FloatArray, threshold: float) -> NDArray[np.bool_]:
    """Say of every two boxes whether their intersection over union is greater than a threshold.

    boxes: (N, 4) float32, x1 y1 x2 y2. areas: (N,) float32, theirs. Returns (N, N).
    """
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    wide = np.maximum(np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1), 0)
    high = np.maximum(np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1), 0)
    shared = wide * high
    exceeds: NDArray[np.bool_] = shared > threshold * (areas[:, None] + areas - shared)
    return exceeds
