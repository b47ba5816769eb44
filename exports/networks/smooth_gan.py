"""A small GAN without a grid: upsampling and convolution where DCGAN has transposed convolutions.

The generator follows Odena, Dumoulin, Olah, "Deconvolution and checkerboard artifacts", Distill 2016: what is resized
first and convolved then is covered evenly. Its latent reaches every stage, as the scale and shift behind a batch
normalisation (Chen, Lucic, Houlsby, Gelly, "On self modulation for generative adversarial networks", arXiv:1810.01365,
section 2). The discriminator has no normalisation at all, so that its gradient can be penalised picture by picture
(Mescheder, Geiger, Nowozin, arXiv:1801.04406), and takes the class as a projection (Miyato and Koyama, "cGANs with
projection discriminator", arXiv:1802.05637, section 3). The widths are those of a DCGAN, `exports/networks/dcgan.py`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, one_hot, relu

SIZE = 64  # pixels of the picture's sides: 4 · 2⁴
_FIRST = 4  # pixels of the map's sides that the latent becomes
_SLOPE = 0.2  # of LeakyReLU below zero


class SmoothGenerator(nn.Module):
    """Noise and a class to a picture.

    noise: numbers a picture is made from; width: twice the channels of the last hidden map; channels: of the picture.
    classes: how many labels it can be asked for.
    """

    def __init__(self, noise: int, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.noise, self.classes = noise, classes
        maps = [8 * width, 4 * width, 2 * width, width, width // 2]
        self.first = nn.Linear(noise + classes, maps[0] * _FIRST**2)
        self.modulate = nn.ModuleList(_Modulated(noise + classes, one) for one in maps)
        self.convolve = nn.ModuleList(nn.Conv2d(one, other, 3, padding=1, bias=False) for one, other in pairwise(maps))
        self.last = nn.Conv2d(maps[-1], channels, 3, padding=1, padding_mode="replicate")

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Make pictures.

        noise: (B, noise) float32, standard normal; labels: (B,) int64.
        Returns (B, channels, 64, 64) float32 in [−1, 1].
        """
        return self.draw(torch.cat([noise, one_hot(labels, self.classes).float()], 1))

    def draw(self, latent: Tensor) -> Tensor:
        """Make pictures of noise that has its one-hot labels behind it already.

        latent: (B, noise + classes) float32. Returns what `forward` does.
        """
        x = self.first(latent).unflatten(1, (-1, _FIRST, _FIRST))
        x = relu(self.modulate[0](x, latent))
        for convolve, modulate in zip(self.convolve, self.modulate[1:], strict=True):
            # at the end without the blocks of the nearest neighbours, before it without the bilinear's blur
            mode = "bilinear" if convolve is self.convolve[-1] else "nearest"
            x = relu(modulate(convolve(interpolate(x, scale_factor=2.0, mode=mode)), latent))
        picture: Tensor = torch.tanh(self.last(x))
        return picture


class SmoothDiscriminator(nn.Module):
    """A picture and its class to how real it looks (a logit). width: channels of the first map; others: as above."""

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        maps = [channels, width, 2 * width, 4 * width, 8 * width]
        self.halve = nn.ModuleList(nn.Conv2d(one, other, 4, 2, 1) for one, other in pairwise(maps))
        self.gather = nn.Conv2d(maps[-1], 4 * width, 3, padding=1)
        self.real = nn.Linear(4 * width * _FIRST**2, 1)
        self.classwise = nn.Linear(4 * width * _FIRST**2, classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, _SLOPE)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Judge pictures: (B, channels, 64, 64) float32 in [−1, 1], labels (B,) int64.

        Returns (B, 1) float32, a logit: positive for real.
        """
        return self.judge(pictures, one_hot(labels, self.classes).float()[:, :, None, None])

    def judge(self, pictures: Tensor, hot: Tensor) -> Tensor:
        """Judge pictures whose labels are one-hot already: (B, classes, 1, 1) float32. Returns what `forward` does."""
        x = pictures
        for halve in self.halve:
            x = leaky_relu(halve(x), _SLOPE)
        x = leaky_relu(self.gather(x), _SLOPE).flatten(1)
        logit: Tensor = self.real(x) + (self.classwise(x) * hot.flatten(1)).sum(1, keepdim=True)
        return logit


class _Modulated(nn.Module):
    """Batch normalisation whose scale and shift come from the latent."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Linear(latent, channels), nn.Linear(latent, channels)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        scale, shift = (layer(latent)[:, :, None, None] for layer in (self.scale, self.shift))
        scaled: Tensor = self.norm(x) * (1 + scale) + shift
        return scaled
