"""Look at a model file before ONNX Runtime does: a model from somewhere else is untrusted input.

What is refused, by walking the protobuf message and without building anything:

- weights outside the file: a path in a model could name any file of this machine, and a checksum would not cover it
- operators of a domain that ONNX Runtime does not bring itself, and so need a library of somebody's own
- operator sets that are older or newer than what is known here
- tensors that claim more elements than the file has bytes for, graphs nested too deep, more nodes than networks have
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import ModelError
from pipelines.onnxfile import MAX_BYTES, fields, varint

OLDEST_OPSET, NEWEST_OPSET = 7, 28
DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
MAX_NODES = 200_000
MAX_DEPTH = 16  # graphs inside graphs (If, Loop, Scan)
MAX_TEXT = 4096  # bytes of a name or a path

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_FUNCTIONS = 7, 8, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 3, 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_FUNCTION_NODE, _FUNCTION_OPSETS, _FUNCTION_DOMAIN = 7, 9, 10
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 8, 13, 14
_EXTERNAL = 1  # TensorProto.DataLocation


@dataclass(slots=True)
class _Walk:
    data: mmap.mmap
    what: str
    second_file: bool = False
    own_domains: set[str] = field(default_factory=set)
    nodes: int = 0


def check_model(path: Path, *, second_file: bool = False) -> None:
    """Refuse a model file that is not safe to load.

    second_file: let weights lie in other files of the same folder, for `adopt`, which makes one file of them.
    Raises ModelError that names the tensor, node or operator set, and what it does.
    """
    try:
        size = path.stat().st_size
        if not 0 < size < MAX_BYTES:
            raise ModelError(f"model file {path} has {size} bytes: a model has some, and less than {MAX_BYTES}")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _model(_Walk(data, f"model file {path}", second_file))
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror or error}") from error


def _model(walk: _Walk) -> None:
    parts = list(fields(walk.data, walk.what))
    # functions a model brings along are made of other nodes, which are checked like all others
    functions = [(body, end) for number, _, body, end in parts if number == _MODEL_FUNCTIONS]
    walk.own_domains = {_text(walk, _FUNCTION_DOMAIN, *span) for span in functions}
    opsets = [(body, end) for number, _, body, end in parts if number == _MODEL_OPSETS]
    if not any(_text(walk, _OPSET_DOMAIN, *span) in ("", "ai.onnx") for span in opsets):
        raise ModelError(f"{walk.what} does not say which operator set it needs: export it again")
    for span in opsets:
        _opset(walk, *span)
    for number, _, body, end in parts:
        if number == _MODEL_GRAPH:
            _graph(walk, body, end, 0)
        elif number == _MODEL_FUNCTIONS:
            for inner, _, start, stop in fields(walk.data, walk.what, body, end):
                if inner == _FUNCTION_NODE:
                    _node(walk, start, stop, 0)
                elif inner == _FUNCTION_OPSETS:
                    _opset(walk, start, stop)


def _opset(walk: _Walk, at: int, end: int) -> None:
    domain = _text(walk, _OPSET_DOMAIN, at, end)
    version = _number(walk, _OPSET_VERSION, at, end)
    if domain in ("", "ai.onnx") and not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise ModelError(
            f"{walk.what} needs operator set {version}, {OLDEST_OPSET} to {NEWEST_OPSET} are supported: export it again"
        )


def _graph(walk: _Walk, at: int, end: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelError(f"{walk.what} has graphs nested deeper than {MAX_DEPTH}: no network needs that")
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number == _GRAPH_NODE:
            _node(walk, body, stop, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(walk, body, stop)
        elif number == _GRAPH_SPARSE:
            _sparse(walk, body, stop)


def _node(walk: _Walk, at: int, end: int, depth: int) -> None:
    walk.nodes += 1
    if walk.nodes > MAX_NODES:
        raise ModelError(f"{walk.what} has more than {MAX_NODES} nodes: no network needs that")
    domain = ""
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number == _NODE_DOMAIN:
            domain = _read_text(walk, body, stop)
        elif number == _NODE_ATTRIBUTE:
            _attribute(walk, body, stop, depth)
    if domain not in DOMAINS and domain not in walk.own_domains:
        raise ModelError(
            f"{walk.what} needs the operator {_text(walk, _NODE_OPERATOR, at, end)!r} of {domain!r} (node "
            f"{_text(walk, _NODE_NAME, at, end)!r}), which is none of ONNX Runtime's own: custom operators are refused"
        )


def _attribute(walk: _Walk, at: int, end: int, depth: int) -> None:
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number in _ATTRIBUTE_TENSORS:
            _tensor(walk, body, stop)
        elif number in _ATTRIBUTE_GRAPHS:
            _graph(walk, body, stop, depth + 1)
        elif number in _ATTRIBUTE_SPARSE:
            _sparse(walk, body, stop)


def _sparse(walk: _Walk, at: int, end: int) -> None:
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number in (_SPARSE_VALUES, _SPARSE_INDICES):
            _tensor(walk, body, stop)


def _tensor(walk: _Walk, at: int, end: int) -> None:
    elements = 1
    external = False
    for number, start, body, stop in fields(walk.data, walk.what, at, end):
        if number == _TENSOR_DIMS:
            for side in _integers(walk, start, body, stop):
                elements *= side
        elif number == _TENSOR_EXTERNAL:
            external = True
        elif number == _TENSOR_LOCATION:
            external |= varint(walk.data, body, walk.what)[0] == _EXTERNAL
    if external:
        _elsewhere(walk, at, end)
        return
    # two elements of 4 bits share a byte; nothing is stored more densely
    if elements > 2 * (end - at):
        raise ModelError(
            f"{walk.what} is damaged or hostile: tensor {_text(walk, _TENSOR_NAME, at, end)!r} claims {elements} "
            f"elements and holds {end - at} bytes"
        )


def _elsewhere(walk: _Walk, at: int, end: int) -> None:
    location = ""
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number == _TENSOR_EXTERNAL and _text(walk, 1, body, stop) == "location":
            location = _text(walk, 2, body, stop)
    parts = location.replace("\\", "/").split("/")
    name = _text(walk, _TENSOR_NAME, at, end)
    if location.startswith(("/", "\\")) or ".." in parts or ":" in location:
        raise ModelError(
            f"{walk.what} is hostile: tensor {name!r} would be read from {location!r}, outside the file's folder"
        )
    if not walk.second_file:
        raise ModelError(
            f"{walk.what} keeps tensor {name!r} in a second file, {location!r}: a model is one file here, "
            "`pixelmill adopt` makes one of both"
        )


def _integers(walk: _Walk, start: int, at: int, end: int) -> Iterator[int]:
    """A repeated integer field, packed into one or one at a time; int64, so a negative one is enormous."""
    packed = varint(walk.data, start, walk.what)[0] & 7 == 2
    while at < end:
        value, at = varint(walk.data, at, walk.what)
        yield value
        if not packed:
            return


def _text(walk: _Walk, wanted: int, at: int, end: int) -> str:
    """A text field of a message; "" if it is not there. The last one counts, as protobuf says."""
    found = ""
    for number, _, body, stop in fields(walk.data, walk.what, at, end):
        if number == wanted:
            found = _read_text(walk, body, stop)
    return found


def _read_text(walk: _Walk, at: int, end: int) -> str:
    if end - at > MAX_TEXT:
        raise ModelError(f"{walk.what} has a name of {end - at} bytes: no network needs that")
    return bytes(walk.data[at:end]).decode("utf-8", "replace")


def _number(walk: _Walk, wanted: int, at: int, end: int) -> int:
    found = 0
    for number, _, body, _end in fields(walk.data, walk.what, at, end):
        if number == wanted:
            found = varint(walk.data, body, walk.what)[0]
    return found
