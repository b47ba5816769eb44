"""torchvision's detectors and instance segmenters.

They take one picture of any size, values in [0, 1], and resize and normalise it themselves; height and width of the
input spec are the shorter and longer side they resize to (a test compares them with the built network).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from exports.catalog.classifiers import default_weights, published, torchvision_source
from exports.catalog.entry import Entry, Facts
from exports.libraries import library
from pipelines.card import InputSpec, Resize

if TYPE_CHECKING:
    from torch.nn import Module

COCO = "COCO train2017"


@dataclass(frozen=True, slots=True)
class _Detector:
    """builder: torchvision's; sides: shorter and longer side it resizes to; masks: whether it gives them.

    old_epsilon: its weights were trained when frozen batch normalisation added no epsilon (pytorch/vision#2933).
    """

    builder: str
    sides: tuple[int, int]
    masks: bool = False
    old_epsilon: bool = False


_DETECTORS = {
    "fasterrcnn-resnet50-fpn": _Detector("fasterrcnn_resnet50_fpn", (800, 1333), old_epsilon=True),
    "fasterrcnn-resnet50-fpn-v2": _Detector("fasterrcnn_resnet50_fpn_v2", (800, 1333)),
    "fasterrcnn-mobilenet-v3-large-fpn": _Detector("fasterrcnn_mobilenet_v3_large_fpn", (800, 1333)),
    "fasterrcnn-mobilenet-v3-large-320-fpn": _Detector("fasterrcnn_mobilenet_v3_large_320_fpn", (320, 640)),
    "ssd300-vgg16": _Detector("ssd300_vgg16", (300, 300)),
    "ssdlite320-mobilenet-v3-large": _Detector("ssdlite320_mobilenet_v3_large", (320, 320)),
    "retinanet-resnet50-fpn-v2": _Detector("retinanet_resnet50_fpn_v2", (800, 1333)),
    "maskrcnn-resnet50-fpn": _Detector("maskrcnn_resnet50_fpn", (800, 1333), masks=True, old_epsilon=True),
    "maskrcnn-resnet50-fpn-v2": _Detector("maskrcnn_resnet50_fpn_v2", (800, 1333), masks=True),
}


def entries() -> list[Entry]:
    """Every detector and instance segmenter of torchvision in the catalogue."""
    return [
        Entry(
            name,
            "instances" if one.masks else "detect",
            "torchvision-instances" if one.masks else "torchvision-detection",
            "torchvision",
            partial(_facts, one),
            partial(_network, one.builder),
            finish=_without_epsilon if one.old_epsilon else None,
        )
        for name, one in _DETECTORS.items()
    ]


def _network(builder: str) -> Module:
    network: Module = getattr(library("torchvision.models.detection"), builder)(weights=None, weights_backbone=None)
    return network


def _without_epsilon(network: Module) -> None:
    norm = library("torch.nn").BatchNorm2d
    for module in network.modules():
        if isinstance(module, norm):
            module.eps = 0.0


@lru_cache(maxsize=64)
def _facts(one: _Detector) -> Facts:
    weights = default_weights(one.builder)
    height, width = one.sides
    return Facts(
        input=InputSpec(
            name="image",
            layout="CHW",
            height=height,
            width=width,
            dynamic=True,
            batch=1,
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            resize=Resize(rule="keep", stride=1),
        ),
        # Class 0 is the background, which no detection has; the decoder takes 1 off every label.
        names=tuple(weights.meta["categories"][1:]),
        outputs=("boxes", "labels", "scores", "masks") if one.masks else ("boxes", "labels", "scores"),
        weights=torchvision_source(weights, COCO),
        published=published(weights),
        decode={"label_offset": 1, "masks": "boxes"} if one.masks else {"label_offset": 1},
        notes=("resizes and normalises inside the graph; names marked N/A are COCO numbers without a class",),
    )
