"""A picture repainted in another style by a transformation network (Johnson, Alahi, Fei-Fei, arXiv:1603.08155).

transformer  (3, h, w) RGB 0–255 over the network's input, not clipped
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from pipelines.card import Card
from pipelines.errors import CardError
from pipelines.geometry import Fit
from pipelines.params import StylizeParams
from pipelines.results import RenderedPicture
from pipelines.types import Image, Tensor

FAMILY = "transformer"


def reader(card: Card, params: StylizeParams) -> Callable[[Sequence[Tensor], Fit, Image | None], RenderedPicture]:
    """Build the function that turns one picture and its outputs into the repainted picture, of the picture's size.

    Raises CardError for a family that is no style network's, or an input that does not see the whole picture.
    """
    if card.family != FAMILY:
        raise CardError(f"model {card.name!r} is of family {card.family!r}: stylize reads {FAMILY}")
    if card.input.resize.rule == "crop":
        raise CardError(f"model {card.name!r} crops its input, so it does not see the whole picture: stylize must")
    facts = {"strength": params.strength, "original_colours": params.original_colours}

    def read(outputs: Sequence[Tensor], fit: Fit, pixels: Image | None) -> RenderedPicture:
        if pixels is None or pixels.shape[:2] != fit.size:
            raise ValueError("stylize needs the picture at its full size beside the network's output")
        styled = _painted(outputs[0], fit)
        if params.original_colours:
            styled = with_colours_of(pixels, styled)
        if params.strength < 1:
            styled = cv2.addWeighted(  # type: ignore[assignment]
                styled, params.strength, pixels, 1 - params.strength, 0
            )
        return RenderedPicture(styled, facts)

    return read


def with_colours_of(pixels: Image, styled: Image) -> Image:
    """Keep a picture's colours and take only light and shade from another one.

    pixels, styled: (H, W, 3) uint8 RGB. Returns the same.
    Source: Gatys et al., "Preserving color in neural artistic style transfer", arXiv:1606.05897, section 3.2
    (luminance-only transfer), with the luma of ITU-R BT.601.
    """
    own = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    own[..., 0] = cv2.cvtColor(styled, cv2.COLOR_RGB2GRAY)
    mixed: Image = cv2.cvtColor(own, cv2.COLOR_YCrCb2RGB)  # type: ignore[assignment]
    return mixed


def _painted(output: Tensor, fit: Fit) -> Image:
    """The network's output as a picture of the original's size, without what was padded."""
    maps = output.reshape(output.shape[-3:])
    if len(maps) != 3:
        raise ValueError(f"an output of three maps, red, green and blue, was expected, this one is {output.shape}")
    # a network may give another size than it was given
    ratios = [maps.shape[1 + axis] / fit.padded[axis] for axis in (0, 1)]
    (top, bottom), (left, right) = (
        (round(fit.shift[1 - axis] * ratio), round((fit.shift[1 - axis] + fit.scaled[axis]) * ratio))
        for axis, ratio in enumerate(ratios)
    )
    seen = maps[:, top:bottom, left:right].transpose(1, 2, 0)
    picture: Image = np.rint(np.clip(seen, 0, 255)).astype(np.uint8)
    if picture.shape[:2] == fit.size:
        return picture
    size = fit.size[1], fit.size[0]
    resized: Image = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    return resized
