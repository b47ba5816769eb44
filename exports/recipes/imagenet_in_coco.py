"""Which ImageNet classes are right for an object that COCO names, so that COCO's boxes can judge a classifier.

COCO has no label per picture and ImageNet no "dog", so a crop of a COCO box counts as right if the network names any
of the ImageNet classes below. COCO classes without a clear counterpart (person, giraffe, kite, …) are left out. This is
easier than ImageNet in that several classes count as right, and harder in that crops are cut off, small and blurred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from exports.recipes.accuracy import Labelled, Truth
from pipelines.image import Limits, decode

_BIRDS = chain(range(7, 25), range(80, 101), range(127, 147))

# COCO class name → ImageNet-1k class ids (order of ILSVRC 2012)
RIGHT: dict[str, frozenset[int]] = {
    name: frozenset(ids)
    for name, ids in {
        "airplane": (404, 895),
        "backpack": (414,),
        "banana": (954,),
        "bear": range(294, 298),
        "bench": (703,),
        "bicycle": (444, 671),
        "bird": _BIRDS,
        "boat": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
        "bottle": (440, 720, 737, 898, 899, 901, 907),
        "bowl": (659, 809),
        "broccoli": (937,),
        "bus": (654, 779, 874),
        "car": (407, 436, 468, 511, 609, 627, 656, 661, 717, 751, 817),
        "cat": range(281, 286),
        "cell phone": (487,),
        "clock": (409, 530, 892),
        "couch": (831,),
        "cup": (504, 647, 967, 968),
        "dining table": (532,),
        "dog": range(151, 269),
        "elephant": (101, 385, 386),
        "horse": (339,),
        "hot dog": (934,),
        "keyboard": (508,),
        "laptop": (620, 681),
        "microwave": (651,),
        "motorcycle": (665, 670),
        "mouse": (673,),
        "orange": (950,),
        "oven": (766, 827),
        "parking meter": (704,),
        "pizza": (963,),
        "refrigerator": (760,),
        "remote": (761,),
        "sheep": (348, 349),
        "sports ball": (429, 430, 522, 574, 722, 768, 805, 852, 890),
        "stop sign": (919,),
        "teddy bear": (850,),
        "tie": (457, 906),
        "toilet": (861,),
        "traffic light": (920,),
        "train": (466, 547, 705, 820, 829),
        "truck": (555, 569, 675, 717, 734, 864, 867),
        "tv": (664, 782, 851),
        "umbrella": (879,),
        "vase": (883,),
        "wine glass": (572,),
        "zebra": (340,),
    }.items()
}


def coco_classes() -> dict[int, str]:
    """COCO's 80 classes as torchvision lists them: COCO category id (1–90, with gaps) → name, in COCO's order."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    listed = FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    return {i: str(name) for i, name in enumerate(listed) if name not in ("__background__", "N/A")}


SMALLEST_SHARE = 0.05  # of the picture's area: below that a crop holds too few pixels to be recognised
MARGIN = 0.05  # of the box's sides, on every side: ImageNet's objects have some surroundings


def crops(truths: Iterable[Truth], names: Sequence[str]) -> Iterator[Labelled]:
    """Cut the objects out of annotated photographs that are large enough and have a counterpart in ImageNet.

    names: class names of the annotations, index = class id.
    """
    for truth in truths:
        height, width = truth.size
        chosen = [
            (i, box)
            for i, box in zip(truth.class_ids.tolist(), truth.boxes.astype(np.float64), strict=True)
            if names[i] in RIGHT and np.prod(box[2:] - box[:2]) >= SMALLEST_SHARE * height * width
        ]
        if not chosen:
            continue
        pixels = decode(truth.path.read_bytes(), Limits()).pixels
        for i, box in chosen:
            room = np.tile(box[2:] - box[:2], 2) * (-MARGIN, -MARGIN, MARGIN, MARGIN)
            left, top, right, bottom = np.clip(box + room, 0, (width, height, width, height)).astype(int)
            crop = np.ascontiguousarray(pixels[top:bottom, left:right])
            yield Labelled(f"{names[i]} in {truth.path.name}", crop, RIGHT[names[i]])
