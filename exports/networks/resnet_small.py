"""A small residual network for small pictures: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition",
CVPR 2016, section 4.2 (CIFAR-10), with squeeze and excitation in its blocks if wanted (Hu et al. 2018, figure 3).

6n + 2 layers: a 3×3 convolution, three stages of n blocks with 16, 32 and 64 channels at full, half and quarter size,
a global average and a fully connected layer. n = 3 gives ResNet-20 with 0.27 M parameters (table 6), here slightly more
because a block that changes the size projects its shortcut (option B) instead of padding it with zeros (option A).
"""

from __future__ import annotations

from torch import Tensor, nn

from exports.networks.se import SqueezeExcitation


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut; `se` scales the residual before it is added (figure 3 of Hu et al.)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, se: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs) if se else nn.Identity()
        self.relu2 = nn.ReLU(inplace=True)
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs, H, W); returns (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉)."""
        residual = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu2(self.se(residual) + self.shortcut(x))
        return out


def resnet_small(classes: int = 10, *, n: int = 3, channels: int = 3, se: bool = False) -> nn.Sequential:
    """Build the 6n + 2 layer network: (B, channels, H, W) float32 in (32×32 in the paper), (B, classes) logits out.

    se: a squeeze-and-excitation unit in every block, reduction 16.
    """
    blocks: list[nn.Module] = []
    inputs = 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        for index in range(n):
            blocks.append(ResidualBlock(inputs, outputs, stride if index == 0 else 1, se=se))
            inputs = outputs
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
