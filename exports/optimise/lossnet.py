"""A convolutional network from an ONNX file, in PyTorch, with gradients: what two pictures are compared by.

Only the few operations of plain classification trunks are known (SqueezeNet, VGG, AlexNet); a pyramid of these, as
`pixelmill export NAME-pyramid` writes it, can serve. The maps are named as in the file. Which of them speak of content
and which of style says the card's `decode`; where it does not, the layers of Gatys, Ecker, Bethge, "Image style
transfer using convolutional neural networks", CVPR 2016, section 3, by their place: for VGG-19 these are conv4_2, and
conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1, each behind its ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from exports.libraries import library
from pipelines.card import Card, read_card
from pipelines.errors import ModelError

Attributes: TypeAlias = Mapping[str, Any]

_CONTENT_STAGE, _CONTENT_NUMBER = 3, 1  # conv4_2: the second of the fourth stage


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the graph: what it computes, from which maps (a convolution's weights apart), into which."""

    kind: str
    takes: tuple[str, ...]
    gives: str
    weights: tuple[Tensor, ...]
    attributes: Attributes


class LossNetwork:
    """The network, its weights as constants; it is never trained here.

    card: of the file. content, style: names of the maps that are compared. least_side: pixels a picture must have a
    side, so that the deepest of these maps has more than one point.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Read the file. Raises ModelError if it holds an operation that is not known here, or CardError."""
        self.card: Card = read_card(path)
        self.device = torch.device(device)
        steps = _steps(path, self.device)
        self._input = self.card.input.name
        self.content, self.style = _layers(self.card, steps, path)
        last = max(number for number, step in enumerate(steps) if step.gives in {*self.content, *self.style})
        self._steps = steps[: last + 1]
        shape = (1, 3, 1, 1)
        mean, std = (torch.tensor(one, device=self.device).reshape(shape) for one in (self.card.input.mean,
                                                                                      self.card.input.std))  # fmt: skip
        self._mean, self._std = mean, std
        self._swap = self.card.input.colour == "BGR"
        self.least_side = 4 * self._stride()

    def maps(self, pictures: Tensor) -> dict[str, Tensor]:
        """Run pictures through.

        pictures: (B, 3, H, W) RGB, 0–255, of any float type. Returns name → (B, C, h, w), those compared only.
        """
        given = pictures.flip(1) if self._swap else pictures
        wanted = {*self.content, *self.style}
        at = {self._input: (given - self._mean.to(given.dtype)) / self._std.to(given.dtype)}
        for step in self._steps:
            at[step.gives] = _KINDS[step.kind](step, [at[name] for name in step.takes])
        return {name: found for name, found in at.items() if name in wanted}

    def _stride(self) -> int:
        stride = 1
        for step in self._steps:
            strides = step.attributes.get("strides", ())
            stride *= strides[0] if strides and step.kind in ("Conv", "MaxPool", "AveragePool") else 1
        return int(stride)


def _convolve(step: Step, maps: Sequence[Tensor]) -> Tensor:
    pads = step.attributes.get("pads", (0, 0, 0, 0))
    weight, *bias = (one.to(maps[0].dtype) for one in step.weights)
    return functional.conv2d(
        maps[0],
        weight,
        bias[0] if bias else None,
        stride=tuple(step.attributes.get("strides", (1, 1))),
        padding=(pads[0], pads[1]),
        dilation=tuple(step.attributes.get("dilations", (1, 1))),
        groups=step.attributes.get("group", 1),
    )


def _pool(step: Step, maps: Sequence[Tensor]) -> Tensor:
    about = step.attributes
    pads = about.get("pads", (0, 0, 0, 0))
    return torch.max_pool2d(
        maps[0],
        kernel_size=tuple(about["kernel_shape"]),
        stride=tuple(about.get("strides", (1, 1))),
        padding=(pads[0], pads[1]),
        ceil_mode=bool(about.get("ceil_mode", 0)),
    )


_KINDS: dict[str, Callable[[Step, Sequence[Tensor]], Tensor]] = {
    "Conv": _convolve,
    "MaxPool": _pool,
    "Relu": lambda _, maps: functional.relu(maps[0]),
    "Concat": lambda _, maps: torch.cat(list(maps), dim=1),
    "Add": lambda _, maps: maps[0] + maps[1],
    "Identity": lambda _, maps: maps[0],
}


def _steps(path: Path, device: torch.device) -> list[Step]:
    """The graph's nodes in order. Raises ModelError naming the first that is not known."""
    onnx, numpy_helper = library("onnx"), library("onnx.numpy_helper")
    model = onnx.load(str(path), load_external_data=False)
    constants = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in model.graph.initializer}
    steps = []
    for node in model.graph.node:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type in ("Cast", "Identity") and node.input[0] in constants:  # weights stored as float16
            constants[node.output[0]] = constants[node.input[0]].float()
            continue
        pads = attributes.get("pads", (0, 0, 0, 0))
        odd = attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"") or tuple(pads[:2]) != tuple(pads[2:])
        if node.op_type not in _KINDS or odd or (node.op_type == "Concat" and attributes.get("axis") != 1):
            raise ModelError(
                f"model file {path} has the operation {node.op_type} ({node.name}), which can't be run backwards here: "
                "choose a plain network as loss network, squeezenet-pyramid, vgg19-pyramid or vgg16-pyramid"
            )
        takes = tuple(name for name in node.input if name and name not in constants)
        weights = tuple(constants[name].float().to(device) for name in node.input if name in constants)
        steps.append(Step(node.op_type, takes, node.output[0], weights, attributes))
    return steps


def _layers(card: Card, steps: Sequence[Step], path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The maps of content and of style. Raises ModelError if the file has none of these names."""
    if "style" in card.decode:
        content, style = (tuple(str(name) for name in card.decode[kind]) for kind in ("content", "style"))
        missing = {*content, *style} - {step.gives for step in steps}
        if missing:
            raise ModelError(f"the card of model file {path} names the map {min(missing)!r}, its graph does not")
        return content, style
    stages: list[list[str]] = [[]]
    for step in steps:
        if step.kind == "MaxPool":
            stages.append([])
        elif step.kind == "Relu":
            stages[-1].append(step.gives)
    firsts = tuple(stage[0] for stage in stages if stage)
    if len(firsts) <= _CONTENT_STAGE:
        raise ModelError(
            f"model file {path} has {len(firsts)} stages of convolutions, a loss network needs "
            f"{_CONTENT_STAGE + 1} or more: choose squeezenet-pyramid or vgg19-pyramid"
        )
    fourth = stages[_CONTENT_STAGE]
    return (fourth[min(_CONTENT_NUMBER, len(fourth) - 1)],), firsts
