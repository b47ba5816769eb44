"""What the catalogue knows of a network, before and after its library is imported.

An `Entry` itself is light: name, task, family. Two callables behind it do the heavy work when asked: `facts` reads what
the library says about its weights, preprocessing, class names and accuracy; `network` builds the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from exports.weights import WeightSource
from pipelines.card import InputSpec, Task

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Family: TypeAlias = Literal[
    "logits",  # classify: (B, C) before softmax
    "torchvision-detection",  # detect: boxes (N, 4), labels (N,), scores (N,), suppressed
    "yolo",  # detect: (4 + C, N), to be suppressed
    "yolo-end2end",  # detect: (N, 6), nothing to suppress
    "semantic-logits",  # segment: (B, C, H, W) before argmax
    "torchvision-instances",  # instances: as torchvision-detection, and masks over boxes (N, 1, 28, 28)
    "box-masks",  # instances: cut-outs around a detector's boxes to probabilities (B, 1, h, w) of being the object
    "yolo-seg",  # instances: (4 + C + 32, N) and prototypes (32, H / 4, W / 4)
    "dcgan",  # generate: noise to a picture in [−1, 1]
    "dcgan-judge",  # a picture to the logit of its being real: no pipeline reads it, training and `describe` do
    "transformer",  # stylize: a picture 0–255 to a picture 0–255
    "embedding",  # embed: (B, D)
    "pyramid",  # pyramid: one map a level
]
Library: TypeAlias = Literal["ours", "torchvision", "timm", "ultralytics"]


@dataclass(frozen=True, slots=True)
class Published:
    """A figure its makers published; nobody here measured it.

    value: a share from 0 to 1 (an accuracy of 56.5% is 0.565, a COCO AP of 37.0 is 0.37).
    source: the weight enum, paper or page it stands in.
    """

    metric: str
    value: float
    data: str
    source: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the library says about a network; every figure from there, none retyped where it can be asked.

    input: the picture input as the official weights want it. For the generator, which takes noise, its height and width
        are 1, its `mean` and `std` say nothing, and `noise` says how many numbers.
    names: class names as a card wants them (index = class id after `decode["label_offset"]` is taken off).
    weights: the official weights; None where nobody published any.
    outputs: names for the graph's outputs, in the order the family's decoder reads them.
    decode: numbers the decoder needs (`pipelines.card.Card.decode`).
    notes: what a user of this entry should know, one sentence each.
    """

    input: InputSpec
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: WeightSource | None = None
    published: tuple[Published, ...] = ()
    decode: Mapping[str, Any] = field(default_factory=dict)
    noise: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the catalogue.

    name: as the command line knows it. task: `pipelines.card.Task`. family: how its outputs are decoded.
    library: who wrote the network.
    facts: reads what the library says; imports it (a second or two), remembers the answer.
    network: builds the module as the library initialises it, without weights and without touching the network;
        `exports.build.build` is what callers want.
    adapt: turns the official state dict into this network's (drops auxiliary heads); None where they agree.
    whole: builds the network the official state dict belongs to, for a backbone cut out of one; None where it is this.
    finish: adjusts a network after official weights are in (an epsilon that changed since they were trained).
    min_size: the smallest height and width it accepts.
    """

    name: str
    task: Task
    family: Family
    library: Library
    facts: Callable[[], Facts]
    network: Callable[[], Module]
    adapt: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    whole: Callable[[], Module] | None = None
    finish: Callable[[Module], None] | None = None
    min_size: int = 32
