"""A person in front of a blurred, replaced or transparent background.

`matte_sources` finds the person, `matte` gives it a soft edge, `matte_colours` the colours on its two sides.

The picture is put together in pieces: one that is all person or all background is copied, only along the contour is
there something to compute. So a large photograph costs little time, and no array of numbers of its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.backdrop import Backdrop, read_backdrop
from pipelines.geometry import Fit
from pipelines.image import Limits
from pipelines.matte import Matte, alpha_of_planes, planes_of, refine, settle
from pipelines.matte_colours import Planes, lens_blur, own_plane, sides
from pipelines.matte_persons import closer_look
from pipelines.matte_sources import source
from pipelines.memory import keep_freed_memory
from pipelines.params import PortraitParams
from pipelines.results import RenderedPicture
from pipelines.session import Session
from pipelines.types import FloatArray, Image, Tensor

# A picture of the full size, or the planes of a blurred one of the reduced size, 0–255.
Behind: TypeAlias = Image | Planes

_PIECE = 128  # pixels a side, about; 64 and 192 measured slower


def reader(
    session: Session, params: PortraitParams, limits: Limits | None = None
) -> Callable[[Sequence[Tensor], Fit, Image | None], RenderedPicture]:
    """Build the function that turns one picture and its outputs into the picture with the effect.

    Where nobody is found the picture stays as it is, and `facts["person_share"]` is 0.
    Raises CardError for a model that tells no persons apart, ParameterError for a background that can't be read, and
    what `closer_look` does.
    """
    keep_freed_memory()
    find = source(session)
    look = closer_look(session) if params.confirm else None
    backdrop = read_backdrop(params.background, params.background_sha256, limits or Limits())

    def read(outputs: Sequence[Tensor], fit: Fit, pixels: Image | None) -> RenderedPicture:
        if pixels is None or pixels.shape[:2] != fit.size:
            raise ValueError("portrait needs the picture at its full size beside the network's outputs")
        coarse = find(outputs, fit, pixels) if look is None else look(pixels)
        settled = None if coarse is None else settle(coarse)
        if settled is None or not settled.any():
            return RenderedPicture(_unchanged(pixels, params.effect), {"effect": params.effect, "person_share": 0.0})
        matte = refine(pixels, settled, params.feather)
        facts = {"effect": params.effect, "person_share": round(matte.share, 4)}
        return RenderedPicture(apply(pixels, matte, params, backdrop), facts)

    return read


def apply(pixels: Image, matte: Matte, params: PortraitParams, backdrop: Backdrop) -> NDArray[np.uint8]:
    """Put the person before another background.

    pixels: (H, W, 3) uint8 RGB, the picture the matte was refined for.
    Returns (H, W, 3) uint8 RGB, or for the effect `cutout` (H, W, 4) with straight alpha.
    """
    around = sides(matte)
    height, width = matte.size
    behind: Behind | None = None
    if params.effect == "blur":
        blurred = lens_blur(matte, around, params.blur / 100 * max(height, width) / matte.step)
        behind = planes_of(blurred * np.float32(255))
    elif params.effect == "replace":
        behind = backdrop.for_size(matte.size)
    out = np.empty((height, width, 4 if params.effect == "cutout" else 3), np.uint8)
    if params.effect == "replace" and behind is None:
        out[:] = np.tile(np.array(backdrop.colour, np.uint8), (width, 1))  # by whole rows, which is faster
    parts = matte.slopes, matte.bounds, around.person, around.background
    rule = [plane for part in parts for plane in planes_of(part)]
    for piece in _pieces(matte):
        _fill(piece, pixels, rule, matte.step, behind, out)
    return out


@dataclass(frozen=True, slots=True)
class _Piece:
    """A rectangle of the picture and of the reduced picture: rows and columns, first and past the last."""

    rows: slice
    columns: slice
    small_rows: slice
    small_columns: slice


def _pieces(matte: Matte) -> Iterator[_Piece]:
    step, (height, width) = matte.step, matte.size
    cells = max(1, _PIECE // step)
    for top in range(0, matte.alpha.shape[0], cells):
        for left in range(0, matte.alpha.shape[1], cells):
            bottom, right = min(top + cells, matte.alpha.shape[0]), min(left + cells, matte.alpha.shape[1])
            yield _Piece(
                slice(top * step, min(bottom * step, height)),
                slice(left * step, min(right * step, width)),
                slice(top, bottom),
                slice(left, right),
            )


def _fill(piece: _Piece, pixels: Image, rule: Planes, step: int, behind: Behind | None, out: NDArray[np.uint8]) -> None:
    """Compute one piece of `out`, which holds the background already where that is one colour.

    rule: 12 planes (h, w) of the reduced size: slopes, bounds, the colours on the person's side and on the other.
    """
    where = piece.rows, piece.columns
    shown, target = pixels[where], out[where]
    transparent = target.shape[2] == 4
    # a neighbouring cell takes part in what lies between: whether a piece is plain is asked with them
    if _with_neighbours(rule[4], piece).min() >= 1:
        target[..., :3] = shown
        if transparent:
            target[..., 3] = 255
        return
    if _with_neighbours(rule[5], piece).max() <= 0:
        if transparent:
            target[:] = 0
        elif behind is not None:
            target[:] = _bytes(_background(behind, piece, step))
        return
    colours = [shown[..., i] * np.float32(1 / 255) for i in range(3)]
    planes = [_enlarged(plane, piece, step) for plane in rule]
    alpha = alpha_of_planes(colours, planes[:4], planes[4:6])
    own = [own_plane(*side, alpha) for side in zip(colours, planes[6:9], planes[9:], strict=True)]
    for plane in own:
        plane *= np.float32(255)
    if transparent:
        four = _bytes([*own, alpha * np.float32(255)])
        # what is not seen at all compresses well as black, and shows nothing of the background
        np.multiply(four, four[..., 3:] > 0, out=target)
        return
    for plane, theirs in zip(own, _background(out if behind is None else behind, piece, step), strict=True):
        plane -= theirs
        plane *= alpha
        plane += theirs
    target[:] = _bytes(own)


def _bytes(planes: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Round planes of 0–255 to one picture."""
    rounded: NDArray[np.uint8] = cv2.convertScaleAbs(cv2.merge(planes))  # type: ignore[assignment]
    return rounded


def _background(behind: Behind, piece: _Piece, step: int) -> Sequence[NDArray[Any]]:
    """What lies behind this piece, three planes of 0–255."""
    if isinstance(behind, np.ndarray):
        return [behind[piece.rows, piece.columns, i] for i in range(3)]
    return [_enlarged(plane, piece, step) for plane in behind]


def _with_neighbours(plane: FloatArray, piece: _Piece) -> FloatArray:
    rows, columns = piece.small_rows, piece.small_columns
    return plane[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1]


def _enlarged(plane: FloatArray, piece: _Piece, step: int) -> FloatArray:
    """Enlarge one piece of an array of the reduced size, (h, w), bilinearly, as if the whole had been enlarged."""
    rows, columns = piece.small_rows, piece.small_columns
    if step == 1:
        return plane[rows, columns]
    part = _with_neighbours(plane, piece)
    # at the picture's edge the missing neighbour is the edge itself
    above, left = int(rows.start == 0), int(columns.start == 0)
    below, right = int(rows.stop == plane.shape[0]), int(columns.stop == plane.shape[1])
    part = cv2.copyMakeBorder(part, above, below, left, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    large = cv2.resize(part, (part.shape[1] * step, part.shape[0] * step), interpolation=cv2.INTER_LINEAR)
    height, width = piece.rows.stop - piece.rows.start, piece.columns.stop - piece.columns.start
    inside: FloatArray = large[step : step + height, step : step + width]  # type: ignore[assignment]
    return inside


def _unchanged(pixels: Image, effect: str) -> NDArray[np.uint8]:
    if effect != "cutout":
        return pixels.copy()
    opaque = np.full(pixels.shape[:2], 255, np.uint8)
    return np.dstack([pixels, opaque])
