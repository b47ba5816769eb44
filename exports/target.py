"""Write a model file that is whole or not there: a target is tried first, and written under a hidden name beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exports.errors import ExportError
from pipelines.card import Card, with_card
from pipelines.errors import ParameterError

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_BYTES = 2**31  # protobuf's limit for one file


def check_target(target: Path) -> None:
    """Refuse a target that can't be written before any work is done; its folder is made if its parent is there.

    Raises ParameterError.
    """
    if target.suffix != ".onnx":
        raise ParameterError(f"{target} can't be the exported file: its name must end in .onnx")
    if target.is_dir():
        raise ParameterError(f"{target} can't be written: it is a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = target.with_name(f".{target.name}.{os.getpid()}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ParameterError(f"{target} can't be written: {error.strerror or error}") from error


@contextmanager
def temporary(target: Path, mark: str = "") -> Iterator[Path]:
    """A hidden name beside the target, removed in the end whatever happens (unless it was renamed).

    It does not end in .onnx: nobody who lists models should meet half of one.
    """
    path = target.with_name(f".{target.stem}.{os.getpid()}{mark}.part")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def write_model(model: ModelProto, card: Card, path: Path) -> None:
    """Write one file with its card, and wait until it is on the disk.

    Raises ExportError for a model of 2 GB or more, or if the disk refuses it.
    """
    size = model.ByteSize()
    if size >= MAX_BYTES:
        raise ExportError(f"{card.name} has {size / 1e9:.1f} GB, one ONNX file holds less than 2 GB: export it as fp16")
    try:
        with path.open("wb") as file:
            file.write(with_card(model.SerializeToString(), card))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ExportError(f"{path} can't be written: {error.strerror or error}") from error
