"""An ONNX file as a list of layers, by shape inference; nothing is run.

Weights may be stored quantised or as a smaller type and be turned back by plain nodes (`DequantizeLinear`, `Cast`,
`Mul`): those nodes are followed back to the stored tensor, so its numbers are counted once, at the layer they feed.
Sizes that depend on the data (what a detector keeps) stay unknown.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from exports.errors import DescribeError
from exports.layers import Description, Layer, Shape, Window
from exports.libraries import library
from pipelines.card import read_card
from pipelines.errors import CardError

_POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization", "BatchNormalization",
             "QLinearConv", "ConvInteger"}  # fmt: skip
_BACK = {"DequantizeLinear", "Cast", "Mul", "Identity", "Transpose", "Reshape"}  # between a stored tensor and its layer
_HIDDEN = {"Constant", "QuantizeLinear", "DequantizeLinear", "Cast", "Shape", "Identity"}


def describe_onnx(path: Path, size: tuple[int, int] | None = None) -> Description:
    """Describe an ONNX file.

    size: height and width to put in where the file leaves them open; None for those of its card, or 640×640. The batch
        is 1 where it is open.
    Raises DescribeError if the file can't be read or a size rule fails.
    """
    onnx = library("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf and onnx raise their own, undocumented kinds
        raise DescribeError(f"{path} is no ONNX file, or is damaged: {error}") from error
    open_sides = _fix_inputs(model, size or _usual_size(path))
    try:
        model = library("onnx.shape_inference").infer_shapes(model, data_prop=True)
    except Exception as error:
        raise DescribeError(f"the shapes of {path} can't be inferred: {error}") from error
    graph = model.graph
    shapes = _shapes(graph)
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    counted: set[str] = set()
    layers = []
    for index, node in enumerate(graph.node):
        if node.op_type in _HIDDEN or all(name in stored for name in node.input if name):
            continue
        weights = [_stored(name, stored, makers) for name in node.input[1:]] if node.op_type in _WEIGHTED else []
        fresh = [name for name in weights if name and name not in counted]
        counted.update(fresh)
        entering, leaving = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
        kernel = _kernel_shape(node, stored, weights, shapes)
        layers.append(
            Layer(
                name=node.name or f"{node.op_type}_{index}",
                kind=node.op_type,
                input=entering,
                output=leaving,
                window=_window(node, kernel, entering),
                parameters=sum(math.prod(stored[name]) for name in fresh),
                macs=_macs(node, kernel, entering, leaving),
            ).checked()
        )
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    return Description(
        name=path.stem,
        source=f"ONNX file, opset {opset}",
        input=tuple(shapes[i.name] for i in graph.input if i.name not in stored and i.name in shapes),
        layers=tuple(layers),
        parameters=sum(layer.parameters for layer in layers),
        notes=(f"open sizes of the file taken as {open_sides}",) if open_sides else (),
    )


def _usual_size(path: Path) -> tuple[int, int]:
    """Height and width the file's card names, 640×640 for one without a card."""
    try:
        spec = read_card(path).input
    except CardError:
        return 640, 640
    return spec.height, spec.width


def _fix_inputs(model: Any, size: tuple[int, int]) -> str:
    """Put numbers where the inputs leave sizes open; gives what was put in, in words."""
    stored = {tensor.name for tensor in model.graph.initializer}
    said: dict[str, int] = {}
    for given in model.graph.input:
        sides = given.type.tensor_type.shape.dim
        if given.name in stored or len(sides) < 3:
            for side in sides:
                if not side.HasField("dim_value"):
                    side.dim_value = 1
            continue
        # NCHW, CHW or NHWC: colour channels are the axis with 1 or 3 entries
        axes = list(range(len(sides)))[-3:]
        last = sides[axes[-1]].dim_value in (1, 3) and sides[axes[0]].dim_value not in (1, 3)
        tall, wide = (axes[0], axes[1]) if last else (axes[1], axes[2])
        height, width = size
        for axis, side in enumerate(sides):
            if side.HasField("dim_value") and side.dim_value > 0:
                continue
            side.dim_value = height if axis == tall else width if axis == wide else 1
            said[{tall: "height", wide: "width"}.get(axis, "batch")] = side.dim_value
    if said:  # what was inferred for open sizes contradicts the numbers now
        del model.graph.value_info[:]
    return ", ".join(f"{what} {count}" for what, count in said.items())


def _shapes(graph: Any) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            continue
        if all(side.HasField("dim_value") for side in kind.shape.dim):
            found[value.name] = tuple(int(side.dim_value) for side in kind.shape.dim)
    return found


def _stored(name: str, stored: dict[str, Shape], makers: dict[str, Any]) -> str | None:
    """The initializer behind a layer's input, through the nodes that only unpack it; None if it is computed."""
    for _ in range(8):
        if name in stored:
            return name
        maker = makers.get(name)
        if maker is None or maker.op_type not in _BACK:
            return None
        name = maker.input[0]
    return None


def _attributes(node: Any) -> dict[str, Any]:
    helper = library("onnx").helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _kernel_shape(
    node: Any, stored: dict[str, Shape], weights: list[str | None], shapes: dict[str, Shape]
) -> Shape | None:
    """The shape of a layer's weights: (Cout, Cin / groups, Fh, Fw) or a matrix."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    first = weights[0] if weights else None
    return shapes.get(node.input[1]) or (stored[first] if first else None)


def _window(node: Any, kernel: Shape | None, entering: Shape | None) -> Window | None:
    if node.op_type.startswith("Global") and entering and len(entering) == 4:
        return Window(kernel=(entering[2], entering[3]), stride=(entering[2], entering[3]))
    if node.op_type not in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
        return None
    said = _attributes(node)
    sides = said.get("kernel_shape") or (list(kernel[2:]) if kernel else None)
    if not sides or len(sides) != 2:
        return None
    pads = said.get("pads", [0, 0, 0, 0])  # top, left, bottom, right
    auto = said.get("auto_pad", b"NOTSET").decode()
    padding = None if auto.startswith("SAME") else ((pads[0], pads[2]), (pads[1], pads[3]))
    return Window(
        kernel=(sides[0], sides[1]),
        stride=tuple(said.get("strides", [1, 1])),
        padding=padding,
        dilation=tuple(said.get("dilations", [1, 1])),
        transposed=node.op_type == "ConvTranspose",
        extra=tuple(said.get("output_padding", [0, 0])),
        ceil=bool(said.get("ceil_mode", 0)),
    )


def _macs(node: Any, kernel: Shape | None, entering: Shape | None, leaving: Shape | None) -> int:
    if kernel is None or entering is None or leaving is None:
        return 0
    if node.op_type == "Conv":
        return math.prod(leaving) * math.prod(kernel[1:])
    if node.op_type == "ConvTranspose":  # kernel: (Cin, Cout / groups, Fh, Fw)
        return math.prod(entering) * math.prod(kernel[1:])
    if node.op_type == "Gemm":
        turned = _attributes(node).get("transA", 0)
        return math.prod(leaving) * entering[0 if turned else -1]
    return math.prod(leaving) * entering[-1]  # MatMul
