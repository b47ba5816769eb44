"""A picture painted by optimisation: content and style loss are minimised on the picture itself.

Gatys, Ecker, Bethge, "Image style transfer using convolutional neural networks", CVPR 2016. As there, the pixels are
what is optimised, by L-BFGS (or by Adam), from the content picture or from noise. Pixels are kept within 0–255 after
every step. The same seed, size and number of threads give the same picture on the same machine; on another kind of
processor the last bits of the arithmetic differ, and many steps make that visible.

`pipelines.optimise` finds this file by its entry point; nothing of `pipelines` or `workers` imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from exports.optimise.losses import content_loss, gram, styles_loss, total_variation
from exports.optimise.lossnet import LossNetwork
from pipelines.card import Provider
from pipelines.errors import ParameterError, ProviderError
from pipelines.optimise import EachStep, Losses, Step
from pipelines.params import OptimiseParams
from pipelines.types import Image

_HISTORY = 10  # curvature pairs L-BFGS keeps
_RATES = {"adam": 4.0, "lbfgs": 1.0}  # Adam's in units of a pixel's 0–255
_NOISE = 40.0  # standard deviation of a start from noise, around grey


class Gatys:
    """A loss network and the style pictures' Gram matrices, ready for any number of content pictures."""

    def __init__(
        self, path: Path, params: OptimiseParams, styles: Sequence[Image], provider: Provider = "auto"
    ) -> None:
        """Load the network and look at the styles.

        styles: (H, W, 3) uint8 RGB each, in the order of the parameters.
        Raises ModelError for a network that can't be run backwards, ParameterError for a style picture that is too
        small for it, ProviderError if a GPU was asked for and PyTorch has none.
        """
        self._device = _device(provider)
        self.provider = f"torch-{self._device}"
        self._params = params
        self._network = LossNetwork(path, self._device)
        self.least_side = self._network.least_side
        longest = round(params.size * params.style_scale)
        self._targets = [self._grams(style, name, longest) for style, name in zip(styles, params.styles, strict=True)]

    def paint(self, content: Image, each: EachStep, threads: int) -> tuple[Image, Losses]:
        """Paint a picture.

        content: (H, W, 3) uint8 RGB, of the size to work at. each: called after every step; what it raises ends the
        work. threads: for the arithmetic. Returns the picture, of the same size and kind, and how far it was before the
        last step.
        """
        params = self._params
        torch.set_num_threads(threads)
        with torch.no_grad():
            whole = self._tensor(content)
            wanted = {name: one for name, one in self._network.maps(whole).items() if name in self._network.content}
        picture = self._start(whole).requires_grad_()
        optimiser: torch.optim.Optimizer
        if params.optimiser == "adam":
            optimiser = torch.optim.Adam([picture], lr=_RATES["adam"], betas=(0.9, 0.99))
        else:
            optimiser = torch.optim.LBFGS(
                [picture], lr=_RATES["lbfgs"], max_iter=1, history_size=_HISTORY, tolerance_grad=0, tolerance_change=0
            )
        weights = params.style_weights
        found = Losses(0.0, 0.0)

        def closure() -> Tensor:
            nonlocal found
            optimiser.zero_grad()
            maps = self._network.maps(picture)
            content_part = sum((content_loss(maps[name], wanted[name]) for name in wanted), torch.zeros(()))
            style_part = styles_loss(maps, self._targets, weights)
            total = params.content_weight * content_part + params.style_weight * style_part
            total = total + params.smoothness * total_variation(picture)
            total.backward()  # type: ignore[no-untyped-call]
            found = Losses(float(content_part.detach()), float(style_part.detach()))
            return total

        for number in range(1, params.steps + 1):
            optimiser.step(closure)  # type: ignore[no-untyped-call]
            with torch.no_grad():
                picture.clamp_(0, 255)
            each(Step(number, params.steps, found, lambda: self._pixels(picture)))
        return self._pixels(picture), found

    def _start(self, whole: Tensor) -> Tensor:
        if self._params.start == "content":
            return whole.clone()
        # raw bits, which numpy promises to keep (NEP 19), unlike what its Generator makes of them; even noise does
        raw = np.random.PCG64(self._params.seed).random_raw(whole.numel()) >> np.uint64(56)
        random = 127.5 + (raw.astype(np.float32) - 127.5) * (_NOISE / 74)
        return torch.from_numpy(random).reshape(whole.shape).to(self._device)

    def _grams(self, style: Image, name: str, longest: int) -> dict[str, Tensor]:
        ratio = longest / max(style.shape[:2])
        height, width = (max(1, round(side * ratio)) for side in style.shape[:2])
        how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
        fitted: Image = cv2.resize(style, (width, height), interpolation=how)  # type: ignore[assignment]
        if min(fitted.shape[:2]) < self.least_side:
            raise ParameterError(
                f"style picture {name} ({style.shape[1]}×{style.shape[0]} pixels) is looked at at {width}×{height} "
                f"pixels, and the loss network {self._network.card.name} needs {self.least_side} a side: take another "
                "picture, or a larger --size or --style-scale"
            )
        with torch.no_grad():
            maps = self._network.maps(self._tensor(fitted))
            return {layer: gram(maps[layer]) for layer in self._network.style}

    def _tensor(self, pixels: Image) -> Tensor:
        whole = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None].astype(np.float32))
        return whole.to(self._device)  # laid out by planes: 1.4 times as fast on a CPU as by pixels (channels last)

    @staticmethod
    def _pixels(picture: Tensor) -> Image:
        values = picture.detach().round().to(torch.uint8)[0].permute(1, 2, 0).cpu()
        pixels: Image = np.ascontiguousarray(values.numpy())
        return pixels


def _device(provider: Provider) -> str:
    there = torch.cuda.is_available()
    if provider in ("cuda", "tensorrt") and not there:
        raise ProviderError(
            f"provider {provider!r} was asked for, but PyTorch has no GPU here: choose --provider cpu, or install a "
            "PyTorch for CUDA (docs/gpu.md)"
        )
    return "cuda" if there and provider != "cpu" else "cpu"
