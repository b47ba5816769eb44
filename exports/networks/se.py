"""Squeeze and excitation: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018 (arXiv:1709.01507).

A block weighs the channels of a map by what the whole map holds: squeeze (global average, equation 2), excite (two
fully connected layers with a bottleneck of C / reduction and a sigmoid, equation 3), scale (equation 4). Reduction 16
is the paper's default (section 6.1). It fits behind any layer, since its output has the shape of its input.
"""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Weigh the channels of a map by the map's own content.

    channels: C of the map; reduction: how much narrower the bottleneck is (at least one unit wide).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        # 1×1 convolutions are fully connected layers on a 1×1 map, and need no reshaping
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale every channel. x: (B, C, H, W); returns the same shape."""
        weights: Tensor = self.sigmoid(self.expand(self.relu(self.reduce(self.squeeze(x)))))  # (B, C, 1, 1), 0 to 1
        return x * weights
