"""Let a style network's instance normalisation be measured on one picture and kept for others.

Instance normalisation takes mean and variance of the picture it is given, so tiles of one picture, each by itself, come
out in different tones. In a graph changed here every normalisation is still its own unless told otherwise; besides

    normalisation            output: what was applied to this picture, (B, 2T, 1, 1), the scales of all T maps, then the
                             shifts; empty unless it was asked for
    normalisation.measure    optional input, bool, default false: ask for that
    normalisation.keep       optional input, bool, default false: apply `normalisation.given`, measure nothing
    normalisation.given      optional input, (1, 2T, 1, 1) float32

Optional inputs are initializers that may be overridden, so the file still has one input, and what is off costs nothing:
it lies in the branch of an `If` that is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exports.errors import ExportError
from pipelines.normalisation import GIVEN, KEEP, MEASURE, OUTPUT

_SPATIAL = "normalisation.axes"


def settable(model: ModelProto) -> ModelProto:
    """Give a copy of a model whose instance normalisations can be measured and kept.

    Raises ExportError if it has none, or has been changed already.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    if any(value.name == OUTPUT for value in graph.output):
        raise ExportError(f"{graph.name or 'this model'} can keep its normalisation already")
    sizes = _channels(graph)
    if not sizes:
        raise ExportError(f"{graph.name or 'this model'} has no InstanceNormalization, so there is nothing to keep")
    total = sum(sizes)
    nodes: list[NodeProto] = []
    scales: list[str] = []
    shifts: list[str] = []
    start = 0
    for node in graph.node:
        if node.op_type != "InstanceNormalization":
            nodes.append(node)
            continue
        size = sizes[len(scales)]
        measured = f"{node.output[0]}.scale", f"{node.output[0]}.shift"
        nodes.append(_applied(node, (start, start + size), total))
        nodes.append(_measured(node, measured))
        scales.append(measured[0])
        shifts.append(measured[1])
        start += size
    nodes.append(helper.make_node("Concat", [*scales, *shifts], [OUTPUT], axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
    no = np.zeros((), np.bool_)
    options = {KEEP: no, MEASURE: no, GIVEN: np.zeros((1, 2 * total, 1, 1), np.float32)}
    for name, default in options.items():
        graph.initializer.append(numpy_helper.from_array(default, name))
        kind = TensorProto.BOOL if default.dtype == np.bool_ else TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info(name, kind, default.shape))
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), _SPATIAL))
    # a branch that measures nothing gives (B, 0, 1, 1), so the second axis is any
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", "normalised", 1, 1]))
    return changed


def _channels(graph: GraphProto) -> list[int]:
    """How many maps each instance normalisation has, in the order of the graph."""
    sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 1}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    unknown = [node.input[1] for node in norms if node.input[1] not in sizes]
    if unknown:
        raise ExportError(f"the scale {unknown[0]!r} of an InstanceNormalization is no plain weight of the model")
    return [int(sizes[node.input[1]]) for node in norms]


def _applied(node: NodeProto, part: tuple[int, int], total: int) -> NodeProto:
    """What stands for a normalisation: itself, or the scale and shift that were given."""
    x, output = node.input[0], node.output[0]
    own = NodeProto()
    own.CopyFrom(node)
    own.output[0] = f"{output}.own"
    kept = []
    for word, offset in (("scale", 0), ("shift", total)):
        ends = [_number(f"{output}.{word}.{name}", at + offset) for name, at in zip(("from", "to"), part, strict=True)]
        axis = _number(f"{output}.{word}.axis", 1)
        names = [end.output[0] for end in (*ends, axis)]
        kept += [*ends, axis, helper.make_node("Slice", [GIVEN, *names], [f"{output}.given.{word}"])]
    kept += [
        helper.make_node("Mul", [x, f"{output}.given.scale"], [f"{output}.scaled"]),
        helper.make_node("Add", [f"{output}.scaled", f"{output}.given.shift"], [f"{output}.kept"]),
    ]
    return helper.make_node(
        "If", [KEEP], [output], name=f"{node.name or output}.keep",
        then_branch=_branch(kept, [f"{output}.kept"]), else_branch=_branch([own], [f"{output}.own"]),
    )  # fmt: skip


def _measured(node: NodeProto, names: tuple[str, str]) -> NodeProto:
    """The scale and shift that a normalisation comes to on this picture: w / √(var + ε) and b − mean × that."""
    x, weight, bias = node.input
    output = node.output[0]
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

    def name(what: str) -> str:
        return f"{output}.measure.{what}"

    epsilon = helper.make_node(
        "Constant",
        [],
        [name("epsilon")],
        value=numpy_helper.from_array(np.array(given.get("epsilon", 1e-5), np.float32)),
    )
    where = helper.make_node("Constant", [], [name("where")], value=numpy_helper.from_array(np.array([1, 2], np.int64)))
    nodes = [
        epsilon,
        where,
        helper.make_node("ReduceMean", [x, _SPATIAL], [name("mean")], keepdims=1),
        helper.make_node("Sub", [x, name("mean")], [name("centred")]),
        helper.make_node("Mul", [name("centred"), name("centred")], [name("squared")]),
        helper.make_node("ReduceMean", [name("squared"), _SPATIAL], [name("variance")], keepdims=1),
        helper.make_node("Add", [name("variance"), name("epsilon")], [name("above")]),
        helper.make_node("Sqrt", [name("above")], [name("deviation")]),
        helper.make_node("Unsqueeze", [weight, name("where")], [name("weight")]),
        helper.make_node("Unsqueeze", [bias, name("where")], [name("bias")]),
        helper.make_node("Div", [name("weight"), name("deviation")], [name("scale")]),
        helper.make_node("Mul", [name("mean"), name("scale")], [name("moved")]),
        helper.make_node("Sub", [name("bias"), name("moved")], [name("shift")]),
    ]
    nothing = [
        helper.make_node("Constant", [], [f"{word}.none"], value=numpy_helper.from_array(np.zeros((1, 0, 1, 1), "f4")))
        for word in names
    ]
    return helper.make_node(
        "If", [MEASURE], list(names), name=f"{node.name or output}.measure",
        then_branch=_branch(nodes, [name("scale"), name("shift")]),
        else_branch=_branch(nothing, [f"{word}.none" for word in names]),
    )  # fmt: skip


def _number(name: str, value: int) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([value], np.int64)))


def _branch(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> GraphProto:
    values = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(nodes, "branch", [], values)
