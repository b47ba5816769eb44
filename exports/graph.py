"""A PyTorch network becomes an ONNX graph.

Which exporter and which opset serves which family was measured, not guessed: torchvision's detectors only go through
the tracing exporter (`dynamo=False`, opset 17), because their shapes depend on what they find; everything else goes
through `torch.export` (`dynamo=True`, opset 18) with an example batch of 2, since a batch of 1 would be baked in.
Ultralytics' networks go through their own exporter, which prepares their heads for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.catalog.entry import Entry
from exports.compact import strip
from exports.errors import ExportError
from exports.libraries import library, torch
from pipelines.card import InputSpec

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor
    from torch.nn import Module

TRACED_OPSET = 17
EXPORTED_OPSET = 18
_TWO_STAGE = ("torchvision-detection", "torchvision-instances")


def to_onnx(network: Module, entry: Entry, spec: InputSpec, wrapper: Module) -> ModelProto:
    """Export a network with float32 weights inside one file.

    network: of the catalogue, with its weights; wrapper: `exports.wrappers.wrap` around it.
    spec: the input as the card will describe it; what it leaves open is open in the graph.
    Raises ExportError if the exporter gives up, or if the graph fixes a size that should be open.
    """
    try:
        with quiet(), tempfile.TemporaryDirectory(prefix="pixelmill-") as folder:
            if entry.library == "ultralytics":
                model = _ultralytics(network, entry, spec, Path(folder))
            elif entry.family in _TWO_STAGE:
                model = _traced(wrapper, entry, spec)
            else:
                model = _exported(wrapper, entry, spec)
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"{entry.name} can't be exported: {first[:300]}") from error
    strip(model)
    _check_ends(model, entry, spec)
    _name_axes(model, spec)
    _check_open(model, entry, spec)
    return model


def example_tensor(entry: Entry, spec: InputSpec, batch: int) -> Tensor:
    """An input of noise as `spec` describes it: (B, C, H, W), (C, H, W), or (B, noise) for the generator."""
    library_ = torch()
    random = library_.Generator().manual_seed(0)
    noise = entry.facts().noise
    if noise:
        made: Tensor = library_.randn(batch, noise, generator=random)
        return made
    channels = 1 if spec.colour == "GRAY" else 3
    pixels = library_.rand(batch, channels, spec.height, spec.width, generator=random) * 255
    mean = library_.tensor(spec.mean).reshape(-1, 1, 1)
    std = library_.tensor(spec.std).reshape(-1, 1, 1)
    pictures: Tensor = (pixels - mean) / std
    return pictures[0] if spec.layout == "CHW" else pictures


def _exported(wrapper: Module, entry: Entry, spec: InputSpec) -> ModelProto:
    example = example_tensor(entry, spec, 1 if spec.batch == 1 else 2)
    # AUTO, not DYNAMIC: some heads need sizes that are multiples of a stride, and a graph for these is right
    auto = library("torch.export").Dim.AUTO
    open_axes = {} if spec.batch is not None else {0: auto}
    if spec.dynamic and not entry.facts().noise:
        open_axes |= {2: auto, 3: auto}
    program = torch().onnx.export(
        wrapper,
        (example,),
        dynamo=True,
        opset_version=EXPORTED_OPSET,
        input_names=[spec.name],
        output_names=list(entry.facts().outputs),
        dynamic_shapes=(open_axes,) if open_axes else None,
        external_data=False,
        optimize=True,
        verbose=False,
    )
    model: ModelProto = program.model_proto
    return model


def _traced(wrapper: Module, entry: Entry, spec: InputSpec) -> ModelProto:
    outputs = list(entry.facts().outputs)
    axes: dict[str, dict[int, str]] = {name: {0: "detections"} for name in outputs}
    axes[spec.name] = {1: "height", 2: "width"}
    written = io.BytesIO()
    torch().onnx.export(
        wrapper,
        (example_tensor(entry, spec, 1),),
        written,
        dynamo=False,
        opset_version=TRACED_OPSET,
        input_names=[spec.name],
        output_names=outputs,
        dynamic_axes=axes,
    )
    model: ModelProto = library("onnx").load_model_from_string(written.getvalue())
    return model


def _ultralytics(network: Any, entry: Entry, spec: InputSpec, folder: Path) -> ModelProto:
    exporter = library("ultralytics.engine.exporter").Exporter
    arguments = {
        "mode": "export",
        "format": "onnx",
        "imgsz": [spec.height, spec.width],
        "dynamic": spec.dynamic,
        "batch": 1,
        "device": "cpu",
        "simplify": True,
        "verbose": False,
        # YOLO26 is end to end only where suppression is refused explicitly; YOLO11 has nothing to refuse
        "nms": False if entry.facts().decode.get("end2end") else None,
    }
    # What loading a `.pt` would have set; the exporter works on a copy, `pt_path` decides where its file goes.
    given = {"pt_path": str(folder / f"{entry.name}.pt"), "task": "segment" if entry.task == "instances" else "detect"}
    before = {name: getattr(network, name) for name in given if hasattr(network, name)}
    for name, value in given.items():
        setattr(network, name, value)
    try:
        file = exporter(overrides=arguments)(model=network)
    finally:
        for name in given:
            delattr(network, name)
        for name, value in before.items():
            setattr(network, name, value)
    model: ModelProto = library("onnx").load(str(file), load_external_data=False)
    return model


def _check_ends(model: ModelProto, entry: Entry, spec: InputSpec) -> None:
    """Inputs and outputs must carry the catalogue's names: an exporter may ignore what it was told."""
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    wanted = list(entry.facts().outputs)
    if inputs != [spec.name] or outputs != wanted:
        raise ExportError(
            f"{entry.name} was exported with the inputs {inputs} and outputs {outputs}, expected [{spec.name!r}] and "
            f"{wanted}: this version of the exporter names them differently"
        )


def _name_axes(model: ModelProto, spec: InputSpec) -> None:
    """Call the open axes batch, height and width, also inside the formulas of the outputs' axes."""
    meant = {
        "NCHW": ("batch", "", "height", "width"),
        "CHW": ("", "height", "width"),
        "NHWC": ("batch", "height", "width"),
    }
    sides = model.graph.input[0].type.tensor_type.shape.dim
    names = dict(zip((side.dim_param for side in sides), meant[spec.layout], strict=False))
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.HasField("dim_param"):
                side.dim_param = re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), side.dim_param)


def _check_open(model: ModelProto, entry: Entry, spec: InputSpec) -> None:
    """An axis that should be open and is not would fail at a user's first picture of another size."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    fixed = [side.HasField("dim_value") and side.dim_value > 0 for side in sides]
    if spec.layout != "CHW" and spec.batch is None and fixed[0]:
        raise ExportError(f"{entry.name} was exported for a batch of {sides[0].dim_value} only, any number was wanted")
    if spec.dynamic and not entry.facts().noise and any(fixed[-2:]):
        raise ExportError(
            f"{entry.name} was exported for {sides[-2].dim_value or 'any'}×{sides[-1].dim_value or 'any'} pixels only, "
            "any size was wanted; export it with --static"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' chatter off the user's terminal; what goes wrong comes as an exception."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
