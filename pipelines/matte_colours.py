"""The colours on either side of a soft edge: what the person and the background would show there alone.

A pixel along an edge is a mixture, I = αF + (1 − α)B. Laid over another background as it is, it brings the old one with
it: a halo. So F is estimated and laid over instead; and a background that is blurred for itself is averaged from
background only, so that the person does not glow into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np

from pipelines.matte import Matte, planes_of
from pipelines.types import FloatArray

Planes: TypeAlias = Sequence[FloatArray]  # red, green and blue, (h, w) float32 each

_WIDE, _NARROW = 6.0, 1.5  # half the windows of the two passes, in the network's cells
_LITTLE = 1e-3  # share of one side in a window below which its mean colour is taken from a wider one
_LENS_RADIUS = (
    5  # pixels: a larger blur is computed on a picture reduced to this; above it OpenCV takes ten times as long
)
_REST = 0.02  # weight of the local background colour where a lens's disc sees no background at all


@dataclass(frozen=True, slots=True)
class Sides:
    """Mean colours around each pixel of the reduced picture: (h, w, 3) float32 in [0, 1] each."""

    person: FloatArray
    background: FloatArray


def sides(matte: Matte) -> Sides:
    """Estimate the colours of person and background around the contour.

    Source: Forte, "Approximate fast foreground colour estimation" (blur-fusion), ICIP 2021, eq. 4–6, in two passes.
    The means are smooth, so they are kept at the reduced size; `own_plane` adds what each pixel itself says.
    """
    colours, alpha = planes_of(matte.colours), matte.alpha
    person, background = _means(matte, colours, colours, (colours, colours), _WIDE)
    own = [own_plane(*planes, alpha) for planes in zip(colours, person, background, strict=True)]
    person, background = _means(matte, own, background, (person, background), _NARROW)
    return Sides(_together(person), _together(background))


def own_plane(colour: FloatArray, person: FloatArray, background: FloatArray, alpha: FloatArray) -> FloatArray:
    """Give what the person shows in each pixel: the mean around it, and what the pixel differs from the mixture by.

    colour, person, background: (h, w) float32 in [0, 1], one of red, green, blue; alpha: likewise.
    Returns (h, w) float32 in [0, 1]; the pixel's own colour where alpha is 1.
    """
    mixed = person - background
    mixed *= alpha
    np.subtract(colour - background, mixed, out=mixed)
    mixed *= alpha
    mixed += person
    own: FloatArray = np.clip(mixed, 0, 1, out=mixed)
    return own


def lens_blur(matte: Matte, around: Sides, radius: float) -> FloatArray:
    """Blur the background as a lens does, from background pixels only.

    radius: of the lens's disc in pixels of the reduced picture.
    Returns (h, w, 3) float32 in [0, 1] at the reduced size.
    Averaging is done on squared values, near to light itself (a display's gamma is about 2.2), so that lamps become
    bright discs and not grey ones.
    """
    factor = max(1.0, radius / _LENS_RADIUS)
    height, width = (max(1, round(side / factor)) for side in matte.alpha.shape)
    near = 2 * max(1, round(matte.cell)) + 1  # hair the matte missed lies close to its edge
    free: FloatArray = 1 - cv2.dilate(matte.alpha, np.ones((near, near), np.uint8))  # type: ignore[assignment]
    free = _smaller(free, (height, width))[..., None]
    light = np.square(_smaller(matte.colours, (height, width)))
    rest = np.square(_smaller(around.background, (height, width)))
    both = np.dstack([light * free + rest * np.float32(_REST), free + np.float32(_REST)])
    disc = _disc(radius / factor)
    blurred = cv2.filter2D(both, -1, disc, borderType=cv2.BORDER_REFLECT)
    shown: FloatArray = np.sqrt(np.maximum(blurred[..., :3], 0) / np.maximum(blurred[..., 3:], 1e-6))
    if (height, width) != matte.alpha.shape:
        target = matte.alpha.shape[1], matte.alpha.shape[0]
        shown = cv2.resize(shown, target, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    clipped: FloatArray = np.clip(shown, 0, 1, out=shown)
    return clipped


def _means(
    matte: Matte,
    person: Planes,
    background: Planes,
    before: tuple[Planes, Planes],
    reach: float,
) -> tuple[Planes, Planes]:
    """Mean colours of both sides in the window around each pixel; what was there `before` where a side has no part."""
    window = (2 * max(1, round(reach * matte.cell)) + 1,) * 2
    alpha, rest = matte.alpha, 1 - matte.alpha

    def mean(colours: Planes, share: FloatArray, otherwise: Planes) -> Planes:
        weighted = cv2.merge([*(plane * share for plane in colours), share])
        averaged: Any = cv2.boxFilter(weighted, -1, window, borderType=cv2.BORDER_REFLECT)
        *sums, weight = planes_of(averaged)
        scale: Any = 1 / (weight + np.float32(_LITTLE))
        return [(total + np.float32(_LITTLE) * old) * scale for total, old in zip(sums, otherwise, strict=True)]

    return mean(person, alpha, before[0]), mean(background, rest, before[1])


def _together(planes: Planes) -> FloatArray:
    merged: FloatArray = cv2.merge(planes)  # type: ignore[assignment]
    return merged


def _smaller(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    if values.shape[:2] == size:
        return values
    resized: FloatArray = cv2.resize(  # type: ignore[assignment]
        values, (size[1], size[0]), interpolation=cv2.INTER_AREA
    )
    return resized


def _disc(radius: float) -> FloatArray:
    """A disc with a rim one pixel soft, of sum 1."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    normalised: FloatArray = disc / disc.sum()
    return normalised
