"""How far a picture is from the content of one and the style of others, by the maps of a network.

Gatys, Ecker, Bethge, "Image style transfer using convolutional neural networks", CVPR 2016, equations 1 to 7. Their
sums of squares depend on the network and on the picture's size; here each is divided by the same sum of its target, so
that a loss of 1 means as far away as an empty map, whatever the layer, and one pair of weights serves any network and
size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_LEAST = 1e-12  # of a target that is zero everywhere


def gram(maps: Tensor) -> Tensor:
    """Correlations between the channels of maps, equation 3, divided by the number of points.

    maps: (1, C, H, W). Returns (C, C).
    """
    rows = maps.flatten(2)[0]
    return rows @ rows.T / rows.shape[1]


def content_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Squared distance of maps from those of the content picture (equation 1), relative to these.

    maps, target: (1, C, H, W). Returns a scalar.
    """
    return (maps - target).square().sum() / target.square().sum().clamp_min(_LEAST)


def style_loss(found: Tensor, target: Tensor) -> Tensor:
    """Squared distance of a Gram matrix from that of a style picture (equation 4), relative to the latter.

    found, target: (C, C). Returns a scalar.
    """
    return (found - target).square().sum() / target.square().sum().clamp_min(_LEAST)


def styles_loss(
    maps: Mapping[str, Tensor], targets: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> Tensor:
    """The mean over all layers (equation 5 with equal weights), and over several styles by their weights.

    maps: layer → (1, C, H, W). targets: one a style, layer → (C, C). weights: one a style, their sum above 0.
    """
    total = torch.zeros((), dtype=next(iter(maps.values())).dtype, device=next(iter(maps.values())).device)
    for layer in targets[0]:
        found = gram(maps[layer])
        for target, weight in zip(targets, weights, strict=True):
            total = total + weight * style_loss(found, target[layer])
    return total / (len(targets[0]) * sum(weights))


def total_variation(picture: Tensor) -> Tensor:
    """Mean squared difference between neighbouring pixels, in units of the whole range of 0–255.

    picture: (1, 3, H, W), 0–255. Returns a scalar. Source: Mahendran, Vedaldi, "Understanding deep image
    representations by inverting them", CVPR 2015, equation 4 with beta 2.
    """
    across = (picture[..., :, 1:] - picture[..., :, :-1]) / 255
    down = (picture[..., 1:, :] - picture[..., :-1, :]) / 255
    return across.square().mean() + down.square().mean()
