"""A backbone without its head, as a feature pyramid with named outputs.

Level c_k has stride 2^k (He et al. and Lin et al. write C2 to C5). Those maps are the backbone's own, so official
weights fill them. `LateralPyramid` adds the top-down path of Lin, Dollár, Girshick, He, Hariharan, Belongie, "Feature
pyramid networks for object detection", CVPR 2017, section 3 (levels p_k, one width for all); its convolutions are new
and have to be trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from exports.libraries import library


class Pyramid(nn.Module):
    """The maps of a torchvision backbone at named nodes of its graph.

    network: a whole network; what lies behind the last node (its head) is cut off.
    nodes: level → node, e.g. {"c4": "layer3", "c5": "layer4"}, in the order the outputs are to have.
    """

    def __init__(self, network: nn.Module, nodes: Mapping[str, str]) -> None:
        super().__init__()
        extract = library("torchvision.models.feature_extraction").create_feature_extractor
        self.levels = tuple(nodes)
        self.body: nn.Module = extract(network, {node: level for level, node in nodes.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures: (B, C, H, W) float32; returns level → (B, channels, about H / 2^k, about W / 2^k)."""
        maps: dict[str, Tensor] = self.body(pictures)
        return {level: maps[level] for level in self.levels}


class TimmPyramid(nn.Module):
    """The maps of a timm backbone, by its own `forward_intermediates` (its padding can't be traced as a graph).

    network: a whole network; its head is removed.
    levels: level → index of the stage among timm's `feature_info`.
    """

    def __init__(self, network: Any, levels: Mapping[str, int]) -> None:
        super().__init__()
        network.reset_classifier(0)
        self.levels, self.indices = tuple(levels), list(levels.values())
        self.body = network

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures: (B, 3, H, W) float32; returns level → (B, channels, H / 2^k, W / 2^k)."""
        maps = self.body.forward_intermediates(pictures, indices=self.indices, intermediates_only=True)
        return dict(zip(self.levels, maps, strict=True))


class LateralPyramid(nn.Module):
    """A pyramid whose levels all have the same width: lateral 1×1 convolutions, top-down sums, 3×3 smoothing.

    body: a pyramid with levels c_k; channels: of each of its levels, in order; width: of every level given (256 there).
    """

    def __init__(self, body: nn.Module, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        network = library("torchvision.ops").FeaturePyramidNetwork
        self.body = body
        self.lateral = network(list(channels), width)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures: (B, C, H, W) float32; returns p_k → (B, width, H / 2^k, W / 2^k)."""
        maps: dict[str, Tensor] = self.lateral(self.body(pictures))
        return {level.replace("c", "p"): one for level, one in maps.items()}
