"""The colours on either side of a soft edge: what the person and the background would show there alone.

A pixel along an edge is a mixture, I = αF + (1 − α)B. Laid over another background as it is, it brings the old one with
it: a halo. So F is estimated and laid over instead; and a background that is blurred for itself is averaged from
background only, so that the person does not glow into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.matte import Matte
from pipelines.types import FloatArray

_WIDE, _NARROW = 6.0, 1.5  # half the windows of the two passes, in the network's cells
_LITTLE = 1e-3  # share of one side in a window below which its mean colour is taken from the whole window
_LENS_RADIUS = 7  # pixels: a larger blur is computed on a picture reduced until its radius is about this
_REST = 0.02  # weight of the local background colour where a lens's disc sees no background at all


@dataclass(frozen=True, slots=True)
class Sides:
    """Mean colours around each pixel of the reduced picture: (h, w, 3) float32 in [0, 1] each."""

    person: FloatArray
    background: FloatArray


def sides(matte: Matte) -> Sides:
    """Estimate the colours of person and background around the contour.

    Source: Forte, "Approximate fast foreground colour estimation" (blur-fusion), ICIP 2021, eq. 4–6, in two passes.
    The means are smooth, so they are kept at the reduced size; `person_colours` adds what each pixel itself says.
    """
    alpha = matte.alpha[..., None]
    person = background = matte.colours
    for reach in (_WIDE, _NARROW):
        window = (2 * max(1, round(reach * matte.cell)) + 1,) * 2
        around_person = _mean_of(person, alpha, window)
        around_background = _mean_of(background, 1 - alpha, window)
        person = person_colours(matte.colours, matte.alpha, around_person, around_background)
        background = around_background
    return Sides(around_person, around_background)


def person_colours(colours: FloatArray, alpha: FloatArray, person: FloatArray, background: FloatArray) -> FloatArray:
    """Give what the person shows in each pixel: the mean around it, and what the pixel differs from the mixture by.

    colours, person, background: (h, w, 3) float32 in [0, 1]; alpha: (h, w) float32 in [0, 1].
    Returns (h, w, 3) float32 in [0, 1]; the pixel's own colour where alpha is 1.
    """
    part = alpha[..., None]
    mixed = part * (colours - background - part * (person - background))
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


def _mean_of(colours: FloatArray, share: FloatArray, window: tuple[int, int]) -> FloatArray:
    """Mean colour of one side in the window around each pixel; of the whole window where that side has no part."""
    sums = cv2.boxFilter(np.dstack([colours * share, share]), -1, window, borderType=cv2.BORDER_REFLECT)
    plain = cv2.boxFilter(colours, -1, window, borderType=cv2.BORDER_REFLECT)
    mean: FloatArray = (sums[..., :3] + _LITTLE * plain) / (sums[..., 3:] + _LITTLE)
    return mean


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
