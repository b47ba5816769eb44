"""Networks of every family that export in seconds: those of the catalogue where they are small, else the library's own
classes around a body of a few layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import MultiScaleRoIAlign

from exports.catalog import find
from exports.catalog.entry import Entry, Facts
from exports.networks.transformer_net import TransformerNet
from pipelines.card import InputSpec, Resize

ZERO, BYTE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)


def body(width: int = 16) -> nn.Sequential:
    """Three convolutions, stride 8."""
    layers: list[nn.Module] = []
    for inputs in (3, width, width):
        layers += [nn.Conv2d(inputs, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def two_stage(masks: bool) -> nn.Module:
    backbone = body()
    backbone.out_channels = 16  # type: ignore[assignment]
    arguments: dict[str, Any] = {
        "num_classes": 5,
        "min_size": 96,
        "max_size": 160,
        "rpn_anchor_generator": AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),)),
        "box_roi_pool": MultiScaleRoIAlign(["0"], 7, 2),
        "rpn_post_nms_top_n_test": 100,
        "box_detections_per_img": 30,
    }
    if masks:
        return MaskRCNN(backbone, mask_roi_pool=MultiScaleRoIAlign(["0"], 14, 2), **arguments)
    return FasterRCNN(backbone, **arguments)


class Segmenter(FCN):
    """torchvision's FCN around a small body."""

    def __init__(self) -> None:
        super().__init__(nn.ModuleDict({"out": body()}), FCNHead(16, 4))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.classifier(self.backbone["out"](x))
        return {"out": nn.functional.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False)}


def entry(name: str, task: Any, family: Any, facts: Facts, network: Callable[[], nn.Module], least: int = 32) -> Entry:
    return Entry(name, task, family, "torchvision", lambda: facts, network, min_size=least)


def detector(masks: bool) -> Entry:
    spec = InputSpec(
        name="image", layout="CHW", height=96, width=160, dynamic=True, batch=1, mean=ZERO, std=BYTE,
        resize=Resize(rule="keep", stride=1),
    )  # fmt: skip
    outputs = ("boxes", "labels", "scores", "masks") if masks else ("boxes", "labels", "scores")
    decode = {"label_offset": 1, "masks": "boxes"} if masks else {"label_offset": 1}
    facts = Facts(input=spec, names=("a", "b", "c", "d"), outputs=outputs, decode=decode)
    task, family = ("instances", "torchvision-instances") if masks else ("detect", "torchvision-detection")
    return entry(f"small-{family}", task, family, facts, lambda: two_stage(masks))


def segmenter() -> Entry:
    spec = InputSpec(
        name="image", height=96, width=96, dynamic=True, batch=None, mean=ZERO, std=BYTE,
        resize=Resize(rule="shorter-side", shorter_side=96, longer_side=384, antialias=True, stride=1),
    )  # fmt: skip
    facts = Facts(input=spec, names=("sky", "land", "sea", "rest"), outputs=("logits",))
    return entry("small-segmenter", "segment", "semantic-logits", facts, Segmenter)


def stylizer() -> Entry:
    whole = find("transformer-net")
    return Entry(whole.name, "stylize", "transformer", "ours", whole.facts, lambda: TransformerNet(4, 1), min_size=32)


# family → (network, (height, width) or None for its own)
SMALL: dict[str, tuple[Entry, tuple[int, int] | None]] = {
    "logits": (find("lenet5"), None),
    "embedding": (find("lenet5-embedding"), None),
    "pyramid": (find("lenet5-pyramid"), None),
    "dcgan": (find("dcgan-generator"), None),
    "dcgan-judge": (find("dcgan-discriminator"), None),
    "transformer": (stylizer(), None),
    "semantic-logits": (segmenter(), None),
    "torchvision-detection": (detector(masks=False), None),
    "torchvision-instances": (detector(masks=True), None),
    "yolo": (find("yolo11n"), (128, 128)),
    "yolo-end2end": (find("yolo26n"), (480, 480)),
    "yolo-seg": (find("yolo11n-seg"), (128, 128)),
    "box-masks": (find("mask-head-efficientnet-lite0"), None),
}
