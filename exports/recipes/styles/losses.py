"""What a repainted picture is judged by: content and style as a small ImageNet network sees them.

Content: how far the feature maps of the picture are from the photograph's. Style: how far the Gram matrices of the
feature maps are from the painting's (Johnson, Alahi, Fei-Fei, arXiv:1603.08155, section 3.2). The sums themselves are
those of `exports.optimise.losses`, each divided by the size of what it is compared with, so that one weight means about
the same for every layer and every painting.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from exports.optimise.losses import content_loss, gram, style_loss

COLOURS = -1  # not a layer: the pixels themselves
CONTENT = (4, 7)  # the second and fourth fire module: maps at a quarter and an eighth of the size
STYLE = (1, 4, 7, 10)  # the stem, and the last fire module at each size that follows
_LAYERS = max(STYLE) + 1
_MEAN = (104.0, 117.0, 123.0)  # blue, green, red: Caffe's ImageNet mean

Maps = Mapping[int, Tensor]


class LossNetwork(nn.Module):
    """The first layers of SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360), which nothing trains.

    weights: a safetensors file with the keys of `torchvision.models.squeezenet1_1`, trained on BGR 0–255 minus a mean.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state = safetensors.torch.load_file(weights)
        network = squeezenet1_1()
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        self.layers = network.features[:_LAYERS].eval().requires_grad_(False)
        for module in self.layers.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # or the maps that were kept would change behind their layer
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))

    def forward(self, picture: Tensor) -> dict[int, Tensor]:
        """Feature maps by layer number, float32, and the colours. picture: (1, 3, H, W) float, RGB 0–255."""
        maps = {COLOURS: _colours(picture)}
        x = picture.flip(1) - self.mean
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in STYLE or number in CONTENT:
                maps[number] = x.float()
        return maps


def _colours(picture: Tensor) -> Tensor:
    """Red, green and blue in [−1, 1] and a map of ones: their Gram matrix holds the mean colour and how colours vary.

    SqueezeNet's stem answers to edges above all, so that without this a painting's colours hardly come through.
    """
    scaled = picture.float() / 127.5 - 1
    return torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1)


def wanted_style(network: LossNetwork, painting: Tensor) -> dict[int, Tensor]:
    """The Gram matrices that a painting, (1, 3, H, W) RGB 0–255, asks for, by layer."""
    with torch.no_grad():
        maps = network(painting)
    return {layer: gram(maps[layer]) for layer in (COLOURS, *STYLE)}


def style_distance(maps: Maps, wanted: Maps) -> Tensor:
    """How far a picture's Gram matrices are from the wanted ones: the mean over the layers of `style_loss`."""
    return torch.stack([style_loss(gram(maps[layer]), target) for layer, target in wanted.items()]).mean()


def content_distance(maps: Maps, photograph: Maps) -> Tensor:
    """How far a picture's maps are from the photograph's: the mean over the content layers of `content_loss`."""
    return torch.stack([content_loss(maps[layer], photograph[layer]) for layer in CONTENT]).mean()
