"""A network of our own recipes as an ONNX graph, for any number of pictures at once."""

from __future__ import annotations

import warnings

import onnx
import torch


def traced(model: torch.nn.Module, side: int, takes: str, gives: str) -> onnx.ModelProto:
    """Trace a network: input `takes` (N, 3, side, side) float32, its only argument → output `gives` (N, …).

    Raises SystemExit if PyTorch gives no program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, side, side),),  # two pictures: with one the batch would be taken for a constant
            dynamo=True,
            opset_version=18,
            input_names=[takes],
            output_names=[gives],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    if program is None:
        raise SystemExit("torch.onnx.export gave no program")
    return program.model_proto
