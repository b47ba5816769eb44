"""EfficientNet-Lite0 up to stride 16, as the network that every region passes: a region in, its features out."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, nn

from exports.recipes.efficientnet_lite0.recipe import checkpoint, network
from exports.recipes.tracing import traced
from pipelines.card import InputSpec, Resize

SIDE = 112  # pixels: half of what the network was trained at, a quarter of the time
FEATURES = 7 * 7 * 112
_STAGE = 3  # of timm's feature_info: stride 16; the layers behind it hold four fifths of the weights


class Backbone(nn.Module):
    """The maps at stride 16, where they lie still told apart: box regression needs to know (appendix C)."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        body.reset_classifier(0)
        self.body = body

    def forward(self, regions: Tensor) -> Tensor:
        """regions: (B, 3, 112, 112) float32. Returns (B, 5488) float32."""
        (maps,) = self.body.forward_intermediates(regions, indices=[_STAGE], intermediates_only=True, stop_early=True)
        return torch.flatten(maps, 1)


def backbone() -> Backbone:
    """The backbone with its ImageNet weights, in evaluation mode."""
    return Backbone(network(checkpoint())).eval()


def region_input() -> InputSpec:
    """What a region becomes before it enters the backbone."""
    return InputSpec(
        name="regions",
        height=SIDE,
        width=SIDE,
        batch=None,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        resize=Resize(rule="stretch"),
    )


def exported(model: Backbone) -> onnx.ModelProto:
    """Trace the backbone: `regions` (N, 3, 112, 112) float32 → `features` (N, 5488) float32."""
    return traced(model, SIDE, "regions", "features")


__all__ = ["FEATURES", "SIDE", "Backbone", "backbone", "exported", "region_input"]
