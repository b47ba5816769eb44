"""From TensorFlow Lite's operators to ONNX: the layout turned from NHWC to NCHW once, in the weights."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from exports.compact import strip
from exports.recipes.selfie.tflite import Network, Operator

_PLAIN = {"ADD": "Add", "MUL": "Mul", "RELU": "Relu", "LOGISTIC": "Sigmoid", "HARD_SWISH": "HardSwish"}
_SAME = 0  # Padding.SAME of a builtin's options
_CUSTOM_SAME = 1  # kTfLitePaddingSame, as a custom operator's options have it


def to_onnx(network: Network) -> ModelProto:
    """Write the network as ONNX: input `images` (N, 3, H, W) 0–1, output `matte` (N, 1, H, W) 0–1.

    Raises ValueError for an operator or an option the selfie network does not have.
    """
    return _Writer(network).model()


class _Writer:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._values: dict[str, NDArray[Any]] = {}
        self._nodes: list[NodeProto] = []
        self._names = {network.inputs[0]: "images", network.outputs[0]: "matte"}
        self._constants = dict(network.constants)

    def model(self) -> ModelProto:
        for operator in self._network.operators:
            if any(operator.options.get(name) for name in ("activation",)):
                raise ValueError(f"{operator.name} has a fused activation, the selfie network has none")
            self._write(operator)
        (_, height, width, _), (_, out_height, out_width, _) = (
            self._network.shapes[t] for t in (self._network.inputs[0], self._network.outputs[0])
        )
        graph = helper.make_graph(
            self._nodes,
            "selfie_segmentation",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, height, width])],
            [helper.make_tensor_value_info("matte", TensorProto.FLOAT, ["batch", 1, out_height, out_width])],
            [numpy_helper.from_array(value, name) for name, value in self._values.items()],
        )
        finished = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(shape_inference.infer_shapes(finished, strict_mode=True), full_check=True)
        strip(finished)
        return finished

    def _write(self, operator: Operator) -> None:
        name = operator.name
        if name == "DEQUANTIZE":  # the file keeps its weights as float16
            self._constants[operator.outputs[0]] = self._constants[operator.inputs[0]].astype(np.float32)
        elif name in _PLAIN:
            self._node(_PLAIN[name], operator, [self._name(t) for t in operator.inputs])
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(operator)
        elif name == "AVERAGE_POOL_2D":
            whole = self._network.shapes[operator.inputs[0]][1:3]
            if whole != (operator.options["height"], operator.options["width"]):
                raise ValueError(f"an average over {operator.options}, the selfie network averages whole maps")
            self._node("GlobalAveragePool", operator, [self._name(operator.inputs[0])])
        elif name == "RESIZE_BILINEAR":
            self._resize(operator)
        elif name == "Convolution2DTransposeBias":
            self._transposed(operator)
        else:
            raise ValueError(f"no rule for the operator {name}")

    def _convolution(self, operator: Operator) -> None:
        data, weights, bias = operator.inputs
        kernel = self._constants[weights]
        depthwise = operator.name == "DEPTHWISE_CONV_2D"
        # (O, kh, kw, I) or, depthwise, (1, kh, kw, C) becomes (O, I, kh, kw) or (C, 1, kh, kw)
        turned = kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)
        strides = operator.options["stride_h"], operator.options["stride_w"]
        sides = self._network.shapes[data][1:3]
        pads = [(0, 0), (0, 0)]
        if operator.options["padding"] == _SAME:
            pads = [_same(*of) for of in zip(sides, turned.shape[2:], strides, strict=True)]
        self._node(
            "Conv",
            operator,
            [self._name(data), *self._weights(operator, turned, bias)],
            strides=strides,
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
            group=turned.shape[0] if depthwise else 1,
            kernel_shape=turned.shape[2:],
        )

    def _resize(self, operator: Operator) -> None:
        if operator.options["align_corners"]:
            raise ValueError("a resize with aligned corners, the selfie network has none")
        before, after = (self._network.shapes[t][1:3] for t in (operator.inputs[0], operator.outputs[0]))
        scales = np.array([1, 1, after[0] / before[0], after[1] / before[1]], np.float32)
        half = "half_pixel" if operator.options["half_pixel_centers"] else "asymmetric"
        self._values["scales"] = scales
        if not np.array_equal(scales, (1, 1, 2, 2)):
            raise ValueError(f"a resize by {scales[2:]}, the selfie network only doubles")
        inputs = [self._name(operator.inputs[0]), "", "scales"]
        self._node("Resize", operator, inputs, mode="linear", coordinate_transformation_mode=half)

    def _transposed(self, operator: Operator) -> None:
        """MediaPipe's own operator: a transposed convolution and a bias (`transpose_conv_bias.cc`)."""
        data, weights, bias = operator.inputs
        padding, stride_w, stride_h = struct.unpack("<3i", operator.custom)
        kernel = self._constants[weights].transpose(3, 0, 1, 2)  # (O, kh, kw, I) becomes (I, O, kh, kw)
        if padding != _CUSTOM_SAME or kernel.shape[2:] != (stride_h, stride_w):
            raise ValueError("a transposed convolution whose strokes overlap, the selfie network's lie side by side")
        inputs = [self._name(data), *self._weights(operator, kernel, bias)]
        self._node("ConvTranspose", operator, inputs, strides=(stride_h, stride_w), kernel_shape=kernel.shape[2:])

    def _weights(self, operator: Operator, kernel: NDArray[Any], bias: int) -> list[str]:
        node = f"conv_{operator.outputs[0]}"
        self._values[f"{node}.weights"] = np.ascontiguousarray(kernel)
        self._values[f"{node}.bias"] = self._constants[bias]
        return [f"{node}.weights", f"{node}.bias"]

    def _node(self, kind: str, operator: Operator, inputs: list[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [self._name(operator.outputs[0])], **attributes))

    def _name(self, tensor: int) -> str:
        return self._names.get(tensor, f"map_{tensor}")


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding SAME: what is odd goes behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
