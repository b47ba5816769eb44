"""Backbone and heads in one graph: features, then two matrix products with the outputs `scores` and `deltas`."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exports.recipes.smears_rcnn.heads import Heads
from pipelines.errors import ParameterError
from pipelines.types import FloatArray


def assembled(backbone: ModelProto, heads: Heads) -> ModelProto:
    """Give a copy of a backbone, regions in and features out, that goes on to scores (N, C) and deltas (N, 4 C).

    Raises ParameterError if the backbone gives another number of features than the heads were learnt on.
    """
    model = ModelProto()
    model.CopyFrom(backbone)
    graph = model.graph
    (features,) = graph.output
    given, wanted = _width(model), heads.svm.shape[1]
    if given != wanted:
        raise ParameterError(
            f"the backbone gives {given if given else 'an unknown number of'} features a region, this R-CNN's machines "
            f"and regression were learnt on {wanted}: take the backbone they were learnt with, or learn them again"
        )
    _product(model, features.name, "scores", heads.svm, heads.svm_bias)
    _product(model, features.name, "deltas", heads.regression, heads.regression_bias)
    del graph.output[:]
    for name, width in (("scores", len(heads.svm)), ("deltas", len(heads.regression))):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]))
    return model


def _product(model: ModelProto, features: str, name: str, weights: FloatArray, bias: FloatArray) -> None:
    for part, values in (("weight", weights), ("bias", bias)):
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), f"{name}.{part}"))
    inputs = [features, f"{name}.weight", f"{name}.bias"]
    model.graph.node.append(helper.make_node("Gemm", inputs, [name], name=name, transB=1))


def _width(backbone: ModelProto) -> int:
    """How many features a backbone gives a region; 0 where its graph does not say."""
    shape = backbone.graph.output[0].type.tensor_type.shape.dim
    return int(shape[-1].dim_value) if len(shape) == 2 else 0
