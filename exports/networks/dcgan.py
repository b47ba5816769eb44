"""DCGAN: Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks", ICLR 2016 (arXiv:1511.06434), section 3 and figure 1.

Both networks follow the paper's guidelines: strided convolutions instead of pooling, batch normalisation except at the
generator's output and the discriminator's input, ReLU and a tanh at the end in the generator, LeakyReLU 0.2 in the
discriminator, no fully connected hidden layer; weights start from N(0, 0.02) (section 4). Widths are those of the usual
64×64 network: 8, 4, 2, 1 times `width` channels (the paper's figure 1 has width 128); a network for 32×32 pictures has
one layer less, 4, 2, 1 times.

With `classes`, both are conditional (Mirza and Osindero, "Conditional generative adversarial nets", arXiv:1411.1784):
the generator takes the one-hot label beside the noise, the discriminator takes it as extra constant maps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Size: TypeAlias = Literal[32, 64]
SIZE: Size = 64  # pixels of the picture's sides, unless said otherwise: 4 · 2⁴
_FACTORS: dict[Size, tuple[int, ...]] = {32: (1, 2, 4), 64: (1, 2, 4, 8)}  # of the width, from the picture inwards


class Generator(nn.Module):
    """Noise to a picture.

    noise: numbers a picture is made from; width: channels of the last hidden map; channels: of the picture.
    classes: how many labels it can be asked for, 0 for none. size: pixels of the picture's sides.
    """

    def __init__(
        self, noise: int = 100, width: int = 64, channels: int = 3, classes: int = 0, size: Size = SIZE
    ) -> None:
        super().__init__()
        self.noise, self.classes = noise, classes
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = noise + classes
        for index, factor in enumerate(reversed(_FACTORS[size]), start=1):
            stride, padding = (1, 0) if index == 1 else (2, 1)  # 1 → 4, then doubled each time
            layers[f"up{index}"] = nn.ConvTranspose2d(inputs, width * factor, 4, stride, padding, bias=False)
            layers[f"norm{index}"] = nn.BatchNorm2d(width * factor)
            layers[f"relu{index}"] = nn.ReLU(inplace=True)
            inputs = width * factor
        layers[f"up{len(_FACTORS[size]) + 1}"] = nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False)
        layers["tanh"] = nn.Tanh()
        self.layers = nn.Sequential(layers)
        self.apply(_as_in_the_paper)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Make pictures.

        noise: (B, noise) or (B, noise, 1, 1) float32, standard normal here (the paper draws uniformly).
        labels: (B,) int64, only for a conditional generator.
        Returns (B, channels, size, size) float32 in [−1, 1].
        """
        z = noise.reshape(-1, self.noise, 1, 1)
        if self.classes:
            z = torch.cat([z, _one_hot(labels, self.classes)], 1)
        return self.draw(z)

    def draw(self, latent: Tensor) -> Tensor:
        """Make pictures of noise that has its one-hot labels behind it already.

        latent: (B, noise + classes) or (B, noise + classes, 1, 1) float32. Returns what `forward` does.
        """
        pictures: Tensor = self.layers(latent.reshape(-1, self.noise + self.classes, 1, 1))
        return pictures


class Discriminator(nn.Module):
    """A picture to how real it looks (a logit: put a sigmoid behind it, or use a loss that does).

    width, channels, classes, size: as the generator's.
    """

    def __init__(self, width: int = 64, channels: int = 3, classes: int = 0, size: Size = SIZE) -> None:
        super().__init__()
        self.classes = classes
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = channels + classes
        for index, factor in enumerate(_FACTORS[size], start=1):
            layers[f"down{index}"] = nn.Conv2d(inputs, width * factor, 4, 2, 1, bias=False)
            if index > 1:
                layers[f"norm{index}"] = nn.BatchNorm2d(width * factor)
            layers[f"relu{index}"] = nn.LeakyReLU(0.2, inplace=True)
            inputs = width * factor
        layers["real"] = nn.Conv2d(inputs, 1, 4, bias=False)
        layers["flatten"] = nn.Flatten()
        self.layers = nn.Sequential(layers)
        self.apply(_as_in_the_paper)

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge pictures.

        pictures: (B, channels, size, size) float32 in [−1, 1]; labels: (B,) int64, only for a conditional one.
        Returns (B, 1) float32, a logit: positive for real.
        """
        if not self.classes:
            logit: Tensor = self.layers(pictures)
            return logit
        return self.judge(pictures, _one_hot(labels, self.classes))

    def judge(self, pictures: Tensor, hot: Tensor) -> Tensor:
        """Judge pictures whose labels are one-hot already: (B, classes, 1, 1) float32. Returns what `forward` does."""
        maps = hot.expand(-1, -1, *pictures.shape[-2:])
        logit: Tensor = self.layers(torch.cat([pictures, maps], 1))
        return logit


def _one_hot(labels: Tensor | None, classes: int) -> Tensor:
    if labels is None:
        raise ValueError(f"a conditional network needs labels, 0 to {classes - 1}")
    return nn.functional.one_hot(labels, classes).float()[:, :, None, None]  # (B, classes, 1, 1)


def _as_in_the_paper(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
