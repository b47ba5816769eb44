"""Read and write the metadata of an ONNX file without any ONNX library.

A client that only wants to know what a model is must not pay for loading ONNX Runtime, and must not hand an
untrusted file to a C++ parser first. An ONNX file is a protobuf message; its metadata are entries of the top level
(`ModelProto.metadata_props`, field 14), so walking the top level is enough, and shows at once if a file is cut off.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.errors import ModelError

_GRAPH = 7  # ModelProto.graph
_METADATA = 14  # ModelProto.metadata_props: StringStringEntryProto {1: key, 2: value}
MAX_BYTES = 2**31  # protobuf's own limit, and ours: one file, no external data


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata entries of an ONNX file.

    Raises ModelError if the file can't be read, is no ONNX file, or ends too early.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"model file {path} is empty: export or copy it again")
        if size >= MAX_BYTES:
            raise ModelError(f"model file {path} has {size} bytes, the limit is {MAX_BYTES}: export it as fp16")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _metadata(data, path)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror or error}") from error


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """Give a copy of an ONNX model whose metadata are exactly these entries.

    Raises ModelError if `model` is no ONNX file.
    """
    kept = [model[start:end] for number, start, _, end in fields(model, "the model") if number != _METADATA]
    for key, value in metadata.items():
        entry = _encode(1, key.encode()) + _encode(2, value.encode())
        kept.append(_encode(_METADATA, entry))
    return b"".join(kept)


def _metadata(data: mmap.mmap | bytes, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    has_graph = False
    for number, _, body, end in fields(data, f"model file {path}"):
        has_graph |= number == _GRAPH
        if number == _METADATA:
            entry = bytes(data[body:end])
            parts = {n: entry[b:e] for n, _, b, e in fields(entry, f"model file {path}")}
            try:
                found[parts.get(1, b"").decode()] = parts.get(2, b"").decode()
            except UnicodeDecodeError as error:
                raise ModelError(f"model file {path} has metadata that is not text: export it again") from error
    if not has_graph:
        raise ModelError(f"model file {path} is no ONNX file: it holds no graph")
    return found


def fields(
    data: mmap.mmap | bytes, what: str, at: int = 0, size: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Walk a protobuf message: (field number, start of the field, start of its body, end), offsets in bytes.

    at, size: where the message begins and ends in `data`; the whole of it unless given.
    Raises ModelError, naming `what`, for anything that is no protobuf.
    """
    size = len(data) if size is None else size
    while at < size:
        start = at
        key, at = varint(data, at, what)
        number, wire = key >> 3, key & 7
        body = at
        if wire == 0:
            _, at = varint(data, at, what)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, body = varint(data, at, what)
            at = body + length
        elif wire == 5:
            at += 4
        else:
            raise ModelError(f"{what} is no ONNX file: byte {start} starts no protobuf field")
        if number == 0:
            raise ModelError(f"{what} is no ONNX file: byte {start} starts no protobuf field")
        if at > size:
            raise ModelError(f"{what} is truncated or no ONNX file: it ends at byte {size}, a field goes on to {at}")
        yield number, start, body, at


def varint(data: mmap.mmap | bytes, at: int, what: str) -> tuple[int, int]:
    """Read a protobuf number at this offset: (value, offset behind it). Raises ModelError, naming `what`."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelError(f"{what} is truncated or no ONNX file: it ends inside a number at byte {at}")


def _encode(number: int, body: bytes) -> bytes:
    return _encode_varint(number << 3 | 2) + _encode_varint(len(body)) + body


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
