"""A network as a list of layers, and the arithmetic of their sizes.

One `Layer` is one call of one layer; a layer that is called more than once (the head of a pyramid, on every level) has
its parameters counted at the first call only. Output sizes come from a traced run (PyTorch) or from shape inference
(ONNX), and for convolutions and pooling they are checked against the layer's own numbers:

    O = ⌊(I + 2P − D (F − 1) − 1) / S⌋ + 1      (Dumoulin and Visin, arXiv:1603.07285, relationships 6 and 15;
                                                 with D = 1 the familiar (I + 2P − F) / S + 1)
    O = (I − 1) S − 2P + D (F − 1) + A + 1      transposed, A the output padding (relationship 14)

A multiply-accumulate is one multiplication and one addition: a convolution has Cin/groups · Fh · Fw of them for every
number it gives, a fully connected layer Cin. Additions of biases, normalisation, activations and pooling count as none,
as in the published tables this is compared with.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from exports.errors import DescribeError

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """What a convolution or pooling layer slides over its input, height first.

    padding: (top, bottom), (left, right) pixels, or None for the padding that makes O = ⌈I / S⌉ (TensorFlow's SAME).
    transposed: the layer scatters instead of gathers; extra: its output padding. ceil: round up (a pooling option).
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] | None = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    transposed: bool = False
    extra: Pair = (0, 0)
    ceil: bool = False

    def output(self, size: Pair) -> Pair:
        """The output's height and width for an input of this height and width."""
        return self._side(size[0], 0), self._side(size[1], 1)

    def _side(self, i: int, axis: int) -> int:
        f, s, d = self.kernel[axis], self.stride[axis], self.dilation[axis]
        if self.padding is None:
            return i * s if self.transposed else math.ceil(i / s)
        before, after = self.padding[axis]
        if self.transposed:
            return (i - 1) * s - before - after + d * (f - 1) + self.extra[axis] + 1
        span = i + before + after - d * (f - 1) - 1
        if not self.ceil:
            return span // s + 1
        o = math.ceil(span / s) + 1
        # a window that would start inside the padding behind the picture is left out (PyTorch, MaxPool2d ceil_mode)
        return o - 1 if (o - 1) * s >= i + before else o


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of one layer.

    name: dotted path in the network, or the node's name. kind: its class or ONNX operator.
    input, output: shapes with the batch; None where they depend on the data.
    window: for convolutions and pooling. parameters: trained numbers. macs: multiply-accumulates a batch.
    call: 1 for the first call of this layer, 2 for the second …
    """

    name: str
    kind: str
    input: Shape | None
    output: Shape | None
    window: Window | None = None
    parameters: int = 0
    macs: int = 0
    call: int = 1

    def checked(self) -> Layer:
        """This layer, after its size rule agreed with its output.

        Raises DescribeError that shows the rule, the numbers and the size found.
        """
        if self.window is None or self.input is None or self.output is None:
            return self
        size, found = self.input[-2:], self.output[-2:]
        expected = self.window.output((size[0], size[1]))
        if expected != found:
            raise DescribeError(
                f"layer {self.name!r} ({self.kind}) gives {found[0]}×{found[1]} for {size[0]}×{size[1]}, but its "
                f"numbers ({self.window}) give {expected[0]}×{expected[1]}: the trace or the size rule is wrong"
            )
        return self


@dataclass(frozen=True, slots=True)
class Description:
    """A whole network.

    other_macs: matrix products that no layer stands for (attention), None where that can't be known.
    parameters: of the whole network, those of parts that did not run (or belong to no layer) too.
    """

    name: str
    source: str
    input: tuple[Shape, ...]
    layers: tuple[Layer, ...]
    parameters: int
    other_macs: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers) + (self.other_macs or 0)

    def to_json(self) -> dict[str, Any]:
        """The description as JSON types."""
        return {
            "name": self.name,
            "source": self.source,
            "input": [list(shape) for shape in self.input],
            "layers": [asdict(layer) for layer in self.layers],
            "totals": {
                "layers": len({layer.name for layer in self.layers}),
                "parameters": self.parameters,
                "macs": self.macs,
                "other_macs": self.other_macs,
            },
            "notes": list(self.notes),
        }
