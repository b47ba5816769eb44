"""A mask head that knows no classes: a cut-out with one object in the middle goes in, which pixels are it comes out.

The task is Pinheiro, Collobert, Dollár, "Learning to segment object candidates", NeurIPS 2015 (section 3), refined on
the way back up as in Pinheiro et al., "Learning to refine object segments", ECCV 2016; the network is the U of
`exports.networks.unet` on the whole EfficientNet-Lite0, because what an object is shows in the deepest maps.
"""

from __future__ import annotations

from torch import Tensor, nn

from exports.networks.unet import UNet, lite0_pyramid

_CHANNELS = (16, 24, 40, 112, 320)  # of EfficientNet-Lite0 at strides 2 to 32
_WIDTHS = (16, 24, 40, 64)


class MaskHead(nn.Module):
    """Probabilities of the object's pixels over a cut-out, at half its resolution."""

    def __init__(self) -> None:
        super().__init__()
        levels = {"c1": 0, "c2": 1, "c3": 2, "c4": 3, "c5": 4}
        self.network = UNet(lite0_pyramid(levels), _CHANNELS, _WIDTHS, classes=1, whole=False)

    @property
    def body(self) -> nn.Module:
        """The pretrained part."""
        return self.network.body

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, S, S) float32; returns (B, 1, S / 2, S / 2) in [0, 1]."""
        return self.logits(pictures).sigmoid()

    def logits(self, pictures: Tensor) -> Tensor:
        """The same before the sigmoid, for training."""
        out: Tensor = self.network(pictures)["out"]
        return out
