"""torchvision's semantic segmenters, with the 21 classes of Pascal VOC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from exports.catalog.classifiers import default_weights, published, scaled, torchvision_source
from exports.catalog.entry import Entry, Facts
from exports.libraries import library
from pipelines.card import InputSpec, Resize

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_DATA = "COCO train2017, the pictures and classes of Pascal VOC"
LONGEST = 4  # times the shorter side; no photograph is longer
_NETWORKS = {
    "fcn-resnet50": "fcn_resnet50",
    "deeplabv3-resnet50": "deeplabv3_resnet50",
    "deeplabv3-mobilenet-v3-large": "deeplabv3_mobilenet_v3_large",
    "lraspp-mobilenet-v3-large": "lraspp_mobilenet_v3_large",
}


def entries() -> list[Entry]:
    """Every semantic segmenter of the catalogue."""
    return [
        Entry(
            name,
            "segment",
            "semantic-logits",
            "torchvision",
            partial(_facts, builder),
            partial(_network, builder),
            adapt=_without_auxiliary,
            min_size=64,
        )
        for name, builder in _NETWORKS.items()
    ]


def _network(builder: str) -> Module:
    # weights=None leaves out the auxiliary classifier, which only training uses
    network: Module = getattr(library("torchvision.models.segmentation"), builder)(weights=None, weights_backbone=None)
    return network


def _without_auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: t for k, t in state.items() if not k.startswith("aux_classifier.")}


@lru_cache(maxsize=64)
def _facts(builder: str) -> Facts:
    weights = default_weights(builder)
    transforms = weights.transforms()
    side = transforms.resize_size[0]
    return Facts(
        input=InputSpec(
            name="images",
            height=side,
            width=side,
            dynamic=True,
            batch=None,
            mean=scaled(transforms.mean),
            std=scaled(transforms.std),
            # As torchvision's own preset, which all published figures are with; no padding (stride 1): these networks
            # were never shown any. The longer side is bounded, or a strip of a picture would cost without limit.
            resize=Resize(
                rule="shorter-side",
                interpolation=transforms.interpolation.value,
                antialias=bool(transforms.antialias),
                shorter_side=side,
                longer_side=LONGEST * side,
                stride=1,
            ),
        ),
        names=tuple(weights.meta["categories"]),
        outputs=("logits",),
        weights=torchvision_source(weights, _DATA),
        published=published(weights),
    )
