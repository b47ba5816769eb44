"""A backbone without its head, as one vector a picture: the global average of its last map.

The average pooling is the one residual networks were trained with (He et al., CVPR 2016, section 3.3); for AlexNet and
VGG, whose heads flatten the map instead, it is the usual reading of "the convolutional features of a picture".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from exports.libraries import library


class Embedding(nn.Module):
    """The pooled output of a node in a torchvision network's graph.

    network: a whole network; what lies behind the node is cut off.
    node: its name in the graph, e.g. "layer4".
    """

    def __init__(self, network: nn.Module, node: str) -> None:
        super().__init__()
        extract = library("torchvision.models.feature_extraction").create_feature_extractor
        self.body: nn.Module = extract(network, {node: "map"})
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, C, H, W) float32; returns (B, D) float32."""
        vectors: Tensor = self.flatten(self.pool(self.body(pictures)["map"]))
        return vectors


class TimmEmbedding(nn.Module):
    """The pooled features of a timm network, by its own `forward_features` and pooling."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        network.reset_classifier(0)
        self.body = network

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 3, H, W) float32; returns (B, D) float32."""
        vectors: Tensor = self.body(pictures)
        return vectors
