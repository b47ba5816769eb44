"""Faster R-CNN on EfficientNet-Lite0 with a feature pyramid, small enough to ship and to train on a CPU.

Ren, He, Girshick, Sun, "Faster R-CNN", NeurIPS 2015, and Lin et al., "Feature pyramid networks for object detection",
CVPR 2017, as torchvision has them; thinner: 64 channels a level instead of 256, a box head of 256 instead of 1024, and
levels of stride 8, 16 and 32, which objects of 16 pixels and more are found on.
"""

from __future__ import annotations

from torch import nn

from exports.libraries import library
from exports.networks.pyramid import LateralPyramid
from exports.networks.unet import lite0_pyramid

WIDTH = 64  # channels of every level
_HEAD = 256  # of the box head
_CHANNELS = (40, 112, 320)  # of EfficientNet-Lite0 at strides 8, 16 and 32
# Sides of anchors in pixels of the network's input, a level each: platelets, red cells, white cells at 384×512.
_ANCHORS = ((24, 36), (60, 88), (128, 184))
_RATIOS = (0.75, 1.0, 1.33)  # height to width; a cell cut off by the picture's edge is narrower
_USUAL = 90  # pixels: a proposal of this side is pooled from the middle level


def fasterrcnn_efficientnet_lite0_fpn(classes: int, sides: tuple[int, int]) -> nn.Module:
    """The detector. classes: without the background. sides: shorter and longer side it resizes a picture to."""
    body = lite0_pyramid({"c3": 2, "c4": 3, "c5": 4})
    backbone = LateralPyramid(body, _CHANNELS, WIDTH)
    backbone.out_channels = WIDTH  # type: ignore[assignment]  # where torchvision looks for it
    detection = library("torchvision.models.detection")
    rpn = library("torchvision.models.detection.rpn")
    ratios = (_RATIOS,) * len(_ANCHORS)
    pool = library("torchvision.ops").MultiScaleRoIAlign(
        ["p3", "p4", "p5"], 7, 2, canonical_scale=_USUAL, canonical_level=4
    )
    network: nn.Module = detection.FasterRCNN(
        backbone,
        min_size=sides[0],
        max_size=sides[1],
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        rpn_anchor_generator=rpn.AnchorGenerator(_ANCHORS, ratios),
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=200,
        box_roi_pool=pool,
        box_head=detection.faster_rcnn.TwoMLPHead(WIDTH * 49, _HEAD),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(_HEAD, classes + 1),
        box_batch_size_per_image=256,
    )
    return network
