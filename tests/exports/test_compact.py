"""A compact file computes what the fp32 file computes, up to the rounding of its weights, and runs the same graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exports.compact import SMALLEST_STORED, compact, quantise
from pipelines.errors import ParameterError

SIDE = 8
RANDOM = np.random.default_rng(7)
WEIGHTS: dict[str, NDArray[np.float32]] = {  # channels of very different size, as in trained networks
    name: value.astype(np.float32)
    for name, value in {
        "dense": RANDOM.normal(size=(24, 12, 3, 3)) * np.geomspace(0.01, 10, 24)[:, None, None, None],
        "depthwise": RANDOM.normal(size=(24, 1, 7, 7)),
        "upward": RANDOM.normal(size=(24, 16, 2, 2)) * np.geomspace(0.01, 10, 16)[None, :, None, None],
        "classes": RANDOM.normal(size=(16, 80)) * np.geomspace(0.01, 10, 80)[None, :],
        "bias": RANDOM.normal(size=24),
    }.items()
}


def network() -> ModelProto:
    """A convolution, a depthwise one, a transposed one and a matrix product, each with large weights."""
    nodes = [
        helper.make_node(
            "Conv", ["images", "dense", "bias"], ["a"], pads=[1, 1, 1, 1], doc_string="/home/someone/net.py"
        ),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], group=24, pads=[3, 3, 3, 3]),
        helper.make_node("ConvTranspose", ["b", "upward"], ["c"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "classes"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 12, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 80])],
        [numpy_helper.from_array(value, name) for name, value in WEIGHTS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: ModelProto) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(3).normal(size=(2, 12, SIDE, SIDE)).astype(np.float32)
    logits: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return logits


def with_weights_rounded_by_hand(**rounded: NDArray[np.floating]) -> ModelProto:
    model = network()
    for tensor in model.graph.initializer:
        if tensor.name in rounded:
            tensor.CopyFrom(numpy_helper.from_array(rounded[tensor.name].astype(np.float32), tensor.name))
    return model


def int8_by_definition(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Krishnamoorthi 2018, equation 3.1.2, one channel at a time and in double precision."""
    channels = np.moveaxis(weights.astype(np.float64), axis, 0).copy()
    for channel in channels:
        step = np.abs(channel).max() / 127
        channel[...] = np.round(channel / step) * step
    return np.moveaxis(channels, 0, axis).astype(np.float32)


def test_fp16_storage_computes_with_weights_rounded_to_half_precision() -> None:
    names = ("dense", "depthwise", "upward", "classes")
    expected = run(with_weights_rounded_by_hand(**{name: WEIGHTS[name].astype(np.float16) for name in names}))

    logits = run(compact(network(), "fp16"))

    np.testing.assert_array_equal(logits, expected)


def test_int8_storage_rounds_each_output_channel_with_its_own_step() -> None:
    expected = run(
        with_weights_rounded_by_hand(
            dense=int8_by_definition(WEIGHTS["dense"], axis=0),
            depthwise=WEIGHTS["depthwise"].astype(np.float16),
            upward=int8_by_definition(WEIGHTS["upward"], axis=1),
            classes=int8_by_definition(WEIGHTS["classes"], axis=1),
        )
    )

    logits = run(compact(network(), "int8"))

    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_weights_named_alone_become_int8_and_the_other_large_ones_fp16() -> None:
    small = compact(network(), "int8", int8_only=["classes"])

    kinds = {tensor.name: tensor.data_type for tensor in small.graph.initializer}

    assert kinds == {
        "dense.fp16": TensorProto.FLOAT16,
        "depthwise.fp16": TensorProto.FLOAT16,
        "upward.fp16": TensorProto.FLOAT16,
        "classes.int8": TensorProto.INT8,
        "classes.scale": TensorProto.FLOAT,
        "bias": TensorProto.FLOAT,
    }


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_the_runtime_folds_a_compact_file_into_the_graph_of_the_fp32_file(storage: str, tmp_path: Path) -> None:
    operators = []
    for kind in ("fp32", storage):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{kind}.onnx")
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        ort.InferenceSession(compact(network(), kind).SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath).graph
        operators.append(sorted(node.op_type for node in optimised.node))

    assert operators[1] == operators[0]
    assert "Cast" not in operators[1]


@pytest.mark.parametrize(("storage", "bytes_a_weight"), [("fp32", 4), ("fp16", 2)])
def test_a_file_shrinks_by_what_its_weights_save(storage: str, bytes_a_weight: int) -> None:
    large = sum(value.size for name, value in WEIGHTS.items() if name != "bias")

    size = len(compact(network(), storage).SerializeToString())

    assert large * bytes_a_weight <= size <= large * bytes_a_weight + 2048


def test_a_weight_beyond_half_precision_stays_fp32() -> None:
    model = with_weights_rounded_by_hand(dense=WEIGHTS["dense"] * 1e6)

    small = compact(model, "fp16")

    kinds = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    assert kinds["dense"] == TensorProto.FLOAT
    assert kinds["classes.fp16"] == TensorProto.FLOAT16
    expected = run(model)
    np.testing.assert_allclose(run(small), expected, atol=1e-2 * np.abs(expected).max())


def test_a_small_tensor_stays_as_it_is() -> None:
    value = np.ones(SMALLEST_STORED - 1, np.float32)
    model = network()
    model.graph.initializer.append(numpy_helper.from_array(value, "small"))

    small = compact(model, "fp16")

    assert "small" in {tensor.name for tensor in small.graph.initializer}


def test_a_weight_read_along_two_axes_does_not_become_int8() -> None:
    square = RANDOM.normal(size=(80, 80)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
        helper.make_node("Gemm", ["y", "w"], ["z"], transB=0),
    ]
    graph = helper.make_graph(
        nodes,
        "twice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 80])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 80])],
        [numpy_helper.from_array(square, "w")],
    )

    small = compact(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "int8")

    assert [tensor.name for tensor in small.graph.initializer] == ["w.fp16"]


def test_the_model_given_is_left_untouched_and_traces_of_the_machine_are_dropped() -> None:
    model = network()
    before = model.SerializeToString()

    small = compact(model, "fp32")

    assert model.SerializeToString() == before
    assert b"/home/someone" in before
    assert b"/home/someone" not in small.SerializeToString()


def test_a_channel_of_zeros_stays_zero() -> None:
    weights = np.zeros((2, 3), np.float32)
    weights[1] = (1.0, -2.0, 4.0)

    whole, scale = quantise(weights, axis=0)

    np.testing.assert_array_equal(whole, [[0, 0, 0], [32, -64, 127]])
    np.testing.assert_allclose(scale, [[1.0], [4.0 / 127]], rtol=1e-6)


def test_an_unknown_storage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="'int4': choose one of fp32, fp16, int8"):
        compact(network(), "int4")  # type: ignore[arg-type]


def test_a_name_that_is_no_dense_weight_is_refused() -> None:
    with pytest.raises(ParameterError, match="'depthwise' can't be stored as int8"):
        compact(network(), "int8", int8_only=["depthwise"])
