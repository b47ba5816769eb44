"""Smaller numbers: fp16 and int8, as measured best on a CPU.

fp16 keeps float32 inputs and outputs, so that a file can be exchanged for another. int8 quantises convolutions and the
ReLU behind them, in the QDQ form, with unsigned activations, signed weights, one scale a channel, and ranges from the
smallest and largest value on real photographs that came through the product's own preprocessing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exports.catalog.entry import Entry
from exports.compact import strip
from exports.errors import ExportError
from exports.graph import quiet
from exports.libraries import library
from exports.pictures import image_files, pixels_of, spread
from pipelines.card import Card, InputSpec
from pipelines.errors import ImageError, ParameterError
from pipelines.geometry import fit, plan_fit
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Image, Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST = 24  # photographs; fewer leave ranges to chance (measured, docs/exports.md)
MOST = 100  # more cost time and change the ranges no further
# A ReLU (or its capped form, Clip) that is quantised with its convolution disappears into the range. Left out, the
# range has to cover what the ReLU cuts off: EfficientNet-Lite0 then agreed with fp32 on 0.56 of 64 photographs at 1.73
# times its speed, with it on 0.91 at 1.97 times.
_QUANTISED = ("Conv", "Relu", "Clip")
# Operators that stay float32 in an fp16 file: ONNX Runtime has no float16 kernel for them, or they count pixels
# beyond 2048, where float16 knows no odd numbers.
_KEPT_FLOAT = ("NonMaxSuppression", "RoiAlign", "TopK", "Range", "Resize", "ArgMax", "NonZero", "If", "Loop")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Photographs for int8. skipped: how many files of the folder could not be read."""

    pictures: tuple[Path, ...]
    skipped: int
    folder: str

    @property
    def notes(self) -> tuple[str, ...]:
        """For the card: what the ranges come from."""
        skipped = f"; {self.skipped} files that could not be read were skipped" if self.skipped else ""
        return (f"int8 ranges from {len(self.pictures)} pictures of {self.folder}{skipped}",)


def calibration(folder: Path | None, spec: InputSpec, entry: Entry) -> Calibration:
    """Choose the photographs int8 is calibrated on, before any work is done.

    Raises ParameterError if there is no folder, it holds fewer than `LEAST` pictures that can be read, or the network
    has nothing to quantise them for.
    """
    if entry.facts().noise:
        raise ParameterError(f"{entry.name} makes pictures from noise: int8 needs photographs to calibrate on")
    if folder is None:
        raise ParameterError(
            f"int8 needs photographs to calibrate on: --calibrate FOLDER with at least {LEAST} of the kind you will use"
        )
    good: list[Path] = []
    skipped = 0
    for path in spread(image_files(folder), MOST):
        try:
            pixels_of(path)
        except ImageError:
            skipped += 1
        else:
            good.append(path)
    if len(good) < LEAST:
        unread = f", {skipped} more can't be read" if skipped else ""
        raise ParameterError(
            f"folder {folder} holds {len(good)} pictures to calibrate on{unread}: int8 needs {LEAST}, "
            f"{spec.height}×{spec.width} or larger"
        )
    return Calibration(tuple(good), skipped, folder.name)


def halve(model: ModelProto) -> ModelProto:
    """Give a float16 copy of a float32 model, with float32 inputs and outputs.

    Raises ExportError if the converter gives up.
    """
    converter = library("onnxruntime.transformers.float16")
    copy = library("onnx").ModelProto()
    copy.CopyFrom(model)
    try:
        with quiet():
            halved: ModelProto = converter.convert_float_to_float16(
                copy, keep_io_types=True, op_block_list=[*converter.DEFAULT_OP_BLOCK_LIST, *_KEPT_FLOAT]
            )
    except Exception as error:  # the converter raises what it likes
        raise ExportError(f"the graph can't be converted to fp16: {_first(error)}") from error
    return halved


def quantise_convolutions(model: ModelProto, card: Card, source: Calibration) -> ModelProto:
    """Give a copy of a float32 model whose convolutions work with 8 bits.

    card: of the model; its input says how photographs become tensors.
    Raises ExportError if ONNX Runtime's quantiser gives up.
    """
    quantization = library("onnxruntime.quantization")
    prepare = library("onnxruntime.quantization.shape_inference").quant_pre_process
    with tempfile.TemporaryDirectory(prefix="pixelmill-") as folder:
        plain, prepared, done = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(model.SerializeToString())
        try:
            with quiet():
                # symbolic shape inference is for transformers, and leaves files in the working directory if it fails
                prepare(str(plain), str(prepared), skip_symbolic_shape=True)
                quantization.quantize_static(
                    str(prepared),
                    str(done),
                    _reader(card, source),
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTISED),
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                )
        except Exception as error:  # the quantiser raises what it likes
            raise ExportError(f"{card.name} can't be quantised to int8: {_first(error)}") from error
        quantised: ModelProto = library("onnx").load(str(done), load_external_data=False)
    strip(quantised)
    return quantised


def tensors(card: Card, pictures: Sequence[Path | Image]) -> Iterator[Tensor]:
    """Photographs as the network will get them: decoded, fitted and normalised by the product's own functions."""
    spec = card.input
    for picture in pictures:
        pixels = pixels_of(picture)
        plan = plan_fit((pixels.shape[0], pixels.shape[1]), spec)
        canvas = np.empty((*plan.padded, 3), np.uint8)
        yield to_tensor(fit(pixels, plan, spec.resize, canvas), spec, Workspace())


def _reader(card: Card, source: Calibration) -> Any:
    base: Any = library("onnxruntime.quantization").CalibrationDataReader

    class Photographs(base):  # type: ignore[misc]
        """Gives one photograph after another to the quantiser."""

        def __init__(self) -> None:
            self._tensors = tensors(card, source.pictures)

        def get_next(self) -> dict[str, Tensor] | None:
            """The next input, None at the end."""
            tensor = next(self._tensors, None)
            return None if tensor is None else {card.input.name: tensor}

    return Photographs()


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
