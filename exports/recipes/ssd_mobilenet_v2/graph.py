"""Surgery on the converted graph: affine pairs into the convolutions, only the real classes, one output per kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from exports.compact import strip

HEADS = 6
BOXES = tuple(f"BoxPredictor_{i}/BoxEncodingPredictor/BiasAdd:0" for i in range(HEADS))
CLASSES = tuple(f"BoxPredictor_{i}/ClassPredictor/BiasAdd:0" for i in range(HEADS))
INPUT = "Preprocessor/sub:0"  # the picture, scaled to [−1, 1]


def finish(model: ModelProto, class_ids: Sequence[int], classes_before: int, side: int) -> ModelProto:
    """Turn tf2onnx's output into the network Pixelmill runs.

    model: input `INPUT` (N, 3, side, side), outputs `BOXES` (N, A·4, h, w) and `CLASSES` (N, A·classes_before, h, w).
    class_ids: which of the network's classes to keep, in the order wanted. The others are cut out of the weights, so
        they are neither stored nor computed.
    Returns a model with input `images` and outputs `boxes` (N, anchors, 4) and `logits` (N, anchors, len(class_ids)),
    anchors ordered by feature map, row, column, shape: the order of TensorFlow's reshape of its NHWC maps.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = _fold_affine(_without_idle_reshapes(model, values), values)
    for name in CLASSES:
        _keep_classes(next(node for node in nodes if node.output[0] == name), values, class_ids, classes_before)
    nodes += _gather("boxes", BOXES, 4, values) + _gather("logits", CLASSES, len(class_ids), values)
    nodes = _with_tidy_names(nodes, values)
    used = {name for node in nodes for name in node.input}
    total = sum(_anchors_of(name, model) for name in BOXES)
    graph = helper.make_graph(
        nodes,
        "ssd_mobilenet_v2",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", total, 4]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", total, len(class_ids)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items() if name in used],
    )
    finished = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(shape_inference.infer_shapes(finished, strict_mode=True), full_check=True)
    strip(finished)
    return finished


def _anchors_of(name: str, model: ModelProto) -> int:
    output = next(o for o in model.graph.output if o.name == name)
    _, channels, height, width = (d.dim_value for d in output.type.tensor_type.shape.dim)
    return int(channels // 4 * height * width)


def _without_idle_reshapes(model: ModelProto, values: dict[str, NDArray[Any]]) -> list[NodeProto]:
    """Bypass the reshapes to the same shape that transposing a 1×1 map left behind."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        info.name: tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
        for info in (*inferred.value_info, *inferred.output)
    }
    idle = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Reshape" and shapes[node.input[0]][1:] == tuple(values[node.input[1]][1:])
    }
    names = {before: after for after, before in idle.items() if after in BOXES + CLASSES}  # an output keeps its name
    names |= {after: before for after, before in idle.items() if after not in names.values()}
    nodes = [node for node in model.graph.node if node.output[0] not in idle]
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return nodes


def _fold_affine(nodes: list[NodeProto], values: dict[str, NDArray[Any]]) -> list[NodeProto]:
    """Put every Mul and Add by a constant that follows a convolution alone into its weights and bias (in float64)."""
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    gone: set[str] = set()
    for conv in nodes:
        if conv.op_type != "Conv":
            continue
        while (follower := _only_affine(readers.get(conv.output[0], []), conv, values)) is not None:
            operand = next(name for name in follower.input if name != conv.output[0])
            factor = values[operand].astype(np.float64).reshape(-1)
            weight = values[conv.input[1]].astype(np.float64)
            bias = values[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else np.zeros(len(weight))
            if follower.op_type == "Mul":
                weight, bias = weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias * factor
            else:
                bias = bias + factor
            here = conv.output[0].removesuffix(":0")
            del conv.input[1:]
            conv.input.extend([f"{here}/weights", f"{here}/bias"])
            values[conv.input[1]], values[conv.input[2]] = weight.astype(np.float32), bias.astype(np.float32)
            gone.add(follower.output[0])
            conv.output[0] = follower.output[0]
    return [node for node in nodes if node.op_type == "Conv" or node.output[0] not in gone]


def _only_affine(followers: list[NodeProto], conv: NodeProto, values: dict[str, NDArray[Any]]) -> NodeProto | None:
    if len(followers) != 1 or followers[0].op_type not in ("Mul", "Add"):
        return None
    constants = [values[name] for name in followers[0].input if name != conv.output[0] and name in values]
    channels = len(values[conv.input[1]])
    return followers[0] if len(constants) == 1 and constants[0].size in (1, channels) else None


def _keep_classes(
    head: NodeProto, values: dict[str, NDArray[Any]], class_ids: Sequence[int], classes_before: int
) -> None:
    for at in (1, 2):
        value = values[head.input[at]]
        by_class = value.reshape(-1, classes_before, *value.shape[1:])[:, list(class_ids)]
        name = f"{head.output[0].removesuffix(':0')}/{'weights' if at == 1 else 'bias'}"
        values[name] = np.ascontiguousarray(by_class.reshape(-1, *value.shape[1:]))
        head.input[at] = name


def _gather(output: str, maps: Sequence[str], width: int, values: dict[str, NDArray[Any]]) -> list[NodeProto]:
    values[f"{output}/shape"] = np.array([0, -1, width], np.int64)
    nodes = []
    for i, name in enumerate(maps):
        nodes += [
            helper.make_node("Transpose", [name], [f"{output}/{i}/last"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{output}/{i}/last", f"{output}/shape"], [f"{output}/{i}"]),
        ]
    parts = [f"{output}/{i}" for i in range(len(maps))]
    return [*nodes, helper.make_node("Concat", parts, [output], axis=1)]


def _with_tidy_names(nodes: list[NodeProto], values: dict[str, NDArray[Any]]) -> list[NodeProto]:
    """Rename the input, and drop what depends on the order in which tf2onnx counted (`Conv__516`)."""
    new = {INPUT: "images"}
    for i, node in enumerate(nodes):
        node.name = f"{node.op_type.lower()}_{i}"
        for name in node.output:
            if "__" in name:
                new[name] = node.name
    for node in nodes:
        if node.op_type == "Conv":
            for at, kind in ((1, "weights"), (2, "bias")):
                if at < len(node.input):
                    values.setdefault(f"{node.name}.{kind}", values[node.input[at]])
                    new[node.input[at]] = f"{node.name}.{kind}"
        elif node.op_type == "Clip":
            for at, kind in ((1, "least"), (2, "most")):
                values.setdefault(f"relu6.{kind}", values[node.input[at]])
                if values[f"relu6.{kind}"] != values[node.input[at]]:
                    raise ValueError(f"{node.name} clips at {values[node.input[at]]}, the others do not")
                new[node.input[at]] = f"relu6.{kind}"
    for node in nodes:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    return nodes
