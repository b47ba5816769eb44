"""The image transformation network of feed-forward style transfer: Johnson, Alahi, Fei-Fei, "Perceptual losses for
real-time style transfer and super-resolution", ECCV 2016 (arXiv:1603.08155), section 3.1; layer sizes from table 1 of
its supplementary material.

Two changes that later work made common, for the reasons its authors give: instance instead of batch normalisation
(Ulyanov, Vedaldi, Lempitsky, arXiv:1607.08022), and upsampling by nearest neighbour followed by a convolution instead
of a transposed convolution, which leaves a checkerboard (Odena, Dumoulin, Olah, Distill 2016). The residual blocks are
padded, so that the picture keeps its size, instead of shrinking a picture padded by 40 pixels at the start.
"""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Reflection padding, convolution, instance normalisation: keeps H×W at stride 1, halves it at stride 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReflectionPad2d(kernel // 2),
            nn.Conv2d(inputs, outputs, kernel, stride),
            nn.InstanceNorm2d(outputs, affine=True),
        )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut, without a ReLU behind the sum (Gross and Wilber, as the paper cites)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.relu = nn.ReLU(inplace=True)
        self.second = ConvNorm(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels, H, W); returns the same shape."""
        out: Tensor = x + self.second(self.relu(self.first(x)))
        return out


class TransformerNet(nn.Module):
    """A picture in, the same picture in another style out.

    channels: of the first convolution (32 in the paper); the middle has four times as many.
    blocks: residual blocks (5 in the paper).
    """

    def __init__(self, channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        c = channels
        self.down = nn.Sequential(
            ConvNorm(3, c, 9),
            nn.ReLU(inplace=True),
            ConvNorm(c, 2 * c, 3, 2),
            nn.ReLU(inplace=True),
            ConvNorm(2 * c, 4 * c, 3, 2),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * c) for _ in range(blocks)))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            ConvNorm(4 * c, 2 * c, 3),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2, mode="nearest"),
            ConvNorm(2 * c, c, 3),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(4),
            nn.Conv2d(c, 3, 9),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Repaint pictures.

        pictures: (B, 3, H, W) float32, RGB 0–255, H and W multiples of 4, at least 16.
        Returns (B, 3, H, W) float32; 0–255 where trained so, to be clipped by whoever writes it.
        """
        out: Tensor = self.up(self.blocks(self.down(pictures * (1 / 255)))) * 255
        return out
