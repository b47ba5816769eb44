"""A U-shaped segmenter: a backbone's maps, joined on the way back up to fine resolution.

Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, figure 1,
with a pretrained backbone as the contracting path (as Iglovikov and Shvets, "TernausNet", arXiv:1801.05746) and
bilinear enlargement where that paper has transposed convolutions, which leave a checkered pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from exports.libraries import library
from exports.networks.pyramid import TimmPyramid

_CHANNELS = (16, 24, 40, 112)  # of EfficientNet-Lite0 at strides 2, 4, 8 and 16
_WIDTHS = (24, 32, 48)  # of the way back, at strides 2, 4 and 8


def unet_efficientnet_lite0(classes: int) -> UNet:
    """The segmenter on EfficientNet-Lite0 cut off behind stride 16: 1.1 million weights. classes: of the output."""
    return UNet(lite0_pyramid({"c1": 0, "c2": 1, "c3": 2, "c4": 3}), _CHANNELS, _WIDTHS, classes)


def lite0_pyramid(levels: dict[str, int]) -> TimmPyramid:
    """EfficientNet-Lite0 without what lies behind its last level. levels: level → stage, in ascending order."""
    network: Any = library("timm").create_model("tf_efficientnet_lite0", pretrained=False)
    network.prune_intermediate_layers(list(levels.values()))
    return TimmPyramid(network, levels)


class UNet(nn.Module):
    """A segmenter with one logit a class and pixel.

    body: gives level → map, finest first. channels: of its levels. widths: of the way back, for all but the coarsest.
    whole: enlarge the logits to the input's size; else they have the finest level's.
    """

    def __init__(
        self, body: nn.Module, channels: Sequence[int], widths: Sequence[int], classes: int, *, whole: bool = True
    ) -> None:
        super().__init__()
        self.body, self.whole = body, whole
        below = (*widths[1:], channels[-1])
        joined = (deep + skip for deep, skip in zip(below, channels[:-1], strict=True))
        self.up = nn.ModuleList(_Join(wide, width) for wide, width in zip(joined, widths, strict=True))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures: (B, 3, H, W) float32; returns {"out": (B, classes, H, W)} or at the finest level's size, logits."""
        maps: list[Tensor] = list(self.body(pictures).values())
        x = maps[-1]
        for skip, join in zip(reversed(maps[:-1]), reversed(self.up), strict=True):
            x = join(x, skip)
        logits = self.head(x)
        return {"out": _enlarged(logits, pictures) if self.whole else logits}


class _Join(nn.Module):
    """Enlarge the coarse map, put the fine one beside it, two convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = _convolution(channels, width)
        self.second = _convolution(width, width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """coarse: (B, C, h, w), fine: (B, D, H, W); returns (B, width, H, W)."""
        out: Tensor = self.second(self.first(torch.cat([_enlarged(coarse, fine), fine], dim=1)))
        return out


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
