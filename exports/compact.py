"""Make a model file small without changing what is computed.

Large weights are stored as float16 or int8 and turned back into float32 by plain nodes of the graph itself, `Cast` and
`Mul`. ONNX Runtime folds those at load into the same fp32 constants an fp32 file would hold, so a compact file runs as
fast as an fp32 one, and any other runtime can read it too. (Not `DequantizeLinear`: runtimes keep that node on purpose,
because it marks a graph whose arithmetic is quantised, and then pay for it at every run.)

Rounding is the only loss, so the accuracy of a compact file has to be measured like that of any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pipelines.errors import ParameterError
from pipelines.types import FloatArray

Storage: TypeAlias = Literal["fp32", "fp16", "int8"]

SMALLEST_STORED = 1024  # elements: below that the nodes cost more bytes than the numbers save
_INT8_MAX = 127  # symmetric: −128 is not used, so that zero stays zero and both signs reach as far
_FP16_MAX = float(np.finfo(np.float16).max)


def compact(model: ModelProto, storage: Storage, int8_only: Collection[str] | None = None) -> ModelProto:
    """Give a copy of a float32 model whose large weights are stored as `storage`.

    fp16: every float32 initializer of `SMALLEST_STORED` elements or more, unless a value exceeds float16's range.
    int8: the weights of convolutions and matrix products, symmetric, one scale per output channel; depthwise kernels
        and other large tensors as float16, because a depthwise channel is a handful of numbers that all matter.
    fp32: nothing. Biases and small tensors always stay float32. Traces and doc strings are dropped in every case.
    int8_only: names of the initializers that may become int8; the other large ones become float16. A network's last
        layers bear int8 best, because nothing after them amplifies the rounding, and often they are the largest.

    Raises ParameterError if `storage` is none of these, or a name in `int8_only` is no weight that can become int8.
    Source of the int8 scheme: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
    arXiv:1806.08342, section 3.1.2 (per-channel, symmetric, weights only).
    """
    if storage not in get_args(Storage):
        raise ParameterError(f"weights can't be stored as {storage!r}: choose one of {', '.join(get_args(Storage))}")
    small = ModelProto()
    small.CopyFrom(model)
    strip(small)
    if storage == "fp32":
        return small
    graph = small.graph
    channel_axes = _channel_axes(graph) if storage == "int8" else {}
    if int8_only is not None:
        for name in int8_only:
            if name not in channel_axes:
                raise ParameterError(
                    f"{name!r} can't be stored as int8: it is no dense weight of this model, or shared"
                )
        channel_axes = {name: channel_axes[name] for name in int8_only}
    stored: list[TensorProto] = []
    restoring: list[NodeProto] = []
    for tensor in graph.initializer:
        tensors, nodes = _store(tensor, channel_axes.get(tensor.name))
        stored += tensors
        restoring += nodes
    computing = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(restoring + computing)
    return small


def strip(model: ModelProto) -> None:
    """Drop, in place, what no runtime needs: doc strings, metadata, inferred shapes.

    Exporters write stack traces there, with the paths of the machine that made the file; without them the same network
    gives the same bytes anywhere.
    """
    model.doc_string = ""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def quantise(weights: FloatArray, axis: int) -> tuple[NDArray[np.int8], FloatArray]:
    """Round weights to int8 with one scale for each index along `axis`.

    weights: float32 of any shape. Returns int8 of that shape and float32 scales that broadcast against it, such that
    int8 × scale differs from the weight by at most half a scale. A channel of zeros gets the scale 1.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _INT8_MAX, 1.0).astype(np.float32)
    return np.clip(np.rint(weights / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8), scale


def _store(tensor: TensorProto, axis: int | None) -> tuple[list[TensorProto], list[NodeProto]]:
    """Give the initializers that hold this tensor and the nodes that restore it under its own name."""
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_STORED:
        return [tensor], []
    values = numpy_helper.to_array(tensor)
    name = tensor.name
    if axis is not None:
        whole, scale = quantise(values, axis)
        return (
            [numpy_helper.from_array(whole, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")],
            [
                helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
            ],
        )
    if not np.abs(values).max() <= _FP16_MAX:  # also true for NaN
        return [tensor], []
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16")
    return [half], [helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT)]


def _channel_axes(graph: GraphProto) -> dict[str, int]:
    """Find the weights that may become int8: name → the axis of their output channels."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    axes: dict[str, set[int | None]] = {}
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name in shapes:
                axes.setdefault(name, set()).add(_output_axis(node, shapes[name]) if at == 1 else None)
        for name in _captured(node):
            axes.setdefault(name, set()).add(None)
    return {name: next(iter(found)) for name, found in axes.items() if len(found) == 1 and None not in found}  # type: ignore[misc]


def _output_axis(node: NodeProto, shape: tuple[int, ...]) -> int | None:
    """Say along which axis this node's second input holds its output channels; None if it should not become int8."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Conv":
        return None if shape[1] == 1 else 0  # (out, in / group, kh, kw); one input channel each: depthwise
    if node.op_type == "ConvTranspose":
        return 1 if given.get("group", 1) == 1 else None  # (in, out / group, kh, kw)
    if node.op_type == "Gemm":
        return 0 if given.get("transB", 0) else 1
    if node.op_type == "MatMul" and len(shape) == 2:
        return 1
    return None


def _captured(node: NodeProto) -> Iterator[str]:
    """Name everything the bodies of a control-flow node read."""
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        for body in bodies:
            for inner in body.node:
                yield from inner.input
                yield from _captured(inner)
