"""Our own small networks on EfficientNet-Lite0, whose weights come from the recipes `smears_semantic`,
`smears_fasterrcnn` and `coco_masks`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from exports.catalog.entry import Entry, Facts
from pipelines.card import InputSpec, Resize, read_card
from pipelines.catalog import SHIPPED

if TYPE_CHECKING:
    from torch.nn import Module

_CELLS = ("red cell", "white cell", "platelet")
_SIDES = (384, 512)  # pixels; a smear of 480×640 becomes exactly this
_CUT_OUT = 160  # pixels a side
_TRAINED = "weights come from training it (exports/recipes), nobody published any"


def entries() -> list[Entry]:
    """Every network of our own on this backbone."""
    return [
        Entry(
            "unet-efficientnet-lite0", "segment", "semantic-logits", "ours", _segmenter_facts, _segmenter, min_size=64
        ),
        Entry(
            "fasterrcnn-efficientnet-lite0-fpn", "detect", "torchvision-detection", "ours", _detector_facts, _detector
        ),
        Entry("mask-head-efficientnet-lite0", "instances", "box-masks", "ours", _mask_head_facts, _mask_head),
    ]


def _segmenter() -> Module:
    from exports.networks.unet import unet_efficientnet_lite0

    return unet_efficientnet_lite0(classes=1 + len(_CELLS))


def _mask_head() -> Module:
    from exports.networks.mask_head import MaskHead

    return MaskHead()


def _detector() -> Module:
    from exports.networks.lite_detector import fasterrcnn_efficientnet_lite0_fpn

    return fasterrcnn_efficientnet_lite0_fpn(classes=len(_CELLS), sides=_SIDES)


@lru_cache(maxsize=1)
def _segmenter_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="images",
            height=_SIDES[1],
            width=_SIDES[1],
            dynamic=True,
            batch=None,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
            resize=Resize(rule="letterbox", stride=32),
        ),
        names=("background", *_CELLS),
        outputs=("logits",),
        notes=(_TRAINED,),
    )


@lru_cache(maxsize=1)
def _detector_facts() -> Facts:
    return Facts(
        input=InputSpec(
            name="image",
            layout="CHW",
            height=_SIDES[0],
            width=_SIDES[1],
            dynamic=True,
            batch=1,
            mean=(0.0,) * 3,
            std=(255.0,) * 3,
            resize=Resize(rule="keep", stride=1),
        ),
        names=_CELLS,
        outputs=("boxes", "labels", "scores"),
        decode={"label_offset": 1},
        notes=("resizes and normalises inside the graph", _TRAINED),
    )


@lru_cache(maxsize=1)
def _mask_head_facts() -> Facts:
    detector = "ssd-mobilenet-v2"
    names = read_card(SHIPPED / f"{detector}.onnx").names
    return Facts(
        input=InputSpec(
            name="cut_outs",
            height=_CUT_OUT,
            width=_CUT_OUT,
            batch=None,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
            resize=Resize(rule="stretch"),
        ),
        names=names,
        outputs=("masks",),
        decode={"detector": detector, "context": 1.3},
        notes=("knows no classes: the names are those of the detector whose boxes it is given", _TRAINED),
    )
