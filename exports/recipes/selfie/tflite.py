"""Read a TensorFlow Lite file: its operators, tensors and constants, without TensorFlow.

The file is a FlatBuffer; the field numbers below are those of `schema.fbs` (TensorFlow, `compiler/mlir/lite/schema`).
Only what the selfie network uses is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import number_types, table
from numpy.typing import NDArray

# BuiltinOperator → (name, its options as {name: field number})
_CONV = {"padding": 0, "stride_w": 1, "stride_h": 2, "activation": 3}
_OPERATORS: dict[int, tuple[str, Mapping[str, int]]] = {
    0: ("ADD", {"activation": 0}),
    1: ("AVERAGE_POOL_2D", {"padding": 0, "stride_w": 1, "stride_h": 2, "width": 3, "height": 4, "activation": 5}),
    3: ("CONV_2D", _CONV),
    4: ("DEPTHWISE_CONV_2D", {**_CONV, "multiplier": 3, "activation": 4}),
    6: ("DEQUANTIZE", {}),
    14: ("LOGISTIC", {}),
    18: ("MUL", {"activation": 0}),
    19: ("RELU", {}),
    23: ("RESIZE_BILINEAR", {"align_corners": 2, "half_pixel_centers": 3}),
    32: ("CUSTOM", {}),
    117: ("HARD_SWISH", {}),
}
_ONE_BYTE = frozenset({"padding", "activation", "align_corners", "half_pixel_centers"})
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator. name: of the builtin, or of the custom one. inputs, outputs: tensor numbers.

    options: the builtin's options that matter here. custom: the bytes of a custom operator's options.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]
    custom: bytes


@dataclass(frozen=True, slots=True)
class Network:
    """A TensorFlow Lite file's first subgraph, operators in the order they run.

    shapes: of every tensor, NHWC. constants: tensor number → value.
    """

    operators: tuple[Operator, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, NDArray[Any]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Table:
    """A FlatBuffer table whose fields are asked for by number."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._table = data, table.Table(data, at)

    def _at(self, field: int) -> int:
        offset: int = self._table.Offset(4 + 2 * field)
        return offset and offset + self._table.Pos

    def number(self, field: int, kind: Any) -> int:
        at = self._at(field)
        return int(self._table.Get(kind, at)) if at else 0

    def child(self, field: int) -> _Table | None:
        at = self._at(field)
        return _Table(self._data, self._table.Indirect(at)) if at else None

    def children(self, field: int) -> list[_Table]:
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return []
        start = self._table.Vector(offset)
        return [_Table(self._data, self._table.Indirect(start + 4 * i)) for i in range(self._table.VectorLen(offset))]

    def array(self, field: int, dtype: type[np.generic]) -> NDArray[Any]:
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return np.zeros(0, dtype)
        return np.frombuffer(self._data, dtype, self._table.VectorLen(offset), self._table.Vector(offset))


def read(data: bytes) -> Network:
    """Read a whole file. Raises ValueError for an operator or a tensor type the selfie network does not have."""
    model = _Table(data, int(np.frombuffer(data, np.uint32, 1)[0]))
    codes = model.children(1)
    graph = model.children(2)[0]
    buffers = [buffer.array(0, np.uint8) for buffer in model.children(4)]
    shapes, constants = [], {}
    for number, tensor in enumerate(graph.children(0)):
        shape = tuple(tensor.array(0, np.int32).tolist())
        shapes.append(shape)
        content = buffers[tensor.number(2, number_types.Uint32Flags)]
        if content.size:
            kind = tensor.number(1, number_types.Int8Flags)
            if kind not in _DTYPES:
                raise ValueError(f"tensor {number} is of type {kind}, known are {sorted(_DTYPES)}")
            constants[number] = content.view(_DTYPES[kind]).reshape(shape)
    operators = [_operator(operator, codes) for operator in graph.children(3)]
    inputs, outputs = (tuple(graph.array(field, np.int32).tolist()) for field in (1, 2))
    return Network(tuple(operators), tuple(shapes), constants, inputs, outputs)


def _operator(operator: _Table, codes: list[_Table]) -> Operator:
    code = codes[operator.number(0, number_types.Uint32Flags)]
    kind = max(code.number(0, number_types.Int8Flags), code.number(3, number_types.Int32Flags))
    if kind not in _OPERATORS:
        raise ValueError(f"the network has the operator {kind} of TensorFlow Lite, known are {sorted(_OPERATORS)}")
    name, fields = _OPERATORS[kind]
    if name == "CUSTOM":
        name = code.array(1, np.uint8).tobytes().decode()
    given = operator.child(4)
    options = {
        option: given.number(field, number_types.Int8Flags if option in _ONE_BYTE else number_types.Int32Flags)
        for option, field in fields.items()
        if given is not None
    }
    inputs, outputs = (tuple(operator.array(field, np.int32).tolist()) for field in (1, 2))
    return Operator(name, inputs, outputs, options, operator.array(5, np.uint8).tobytes())
