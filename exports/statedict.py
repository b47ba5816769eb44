"""Read a file of weights into a network, safely, and say clearly when they belong to another network.

A checkpoint is untrusted input. safetensors holds tensors and nothing else; a `.pt` or `.pth` is a pickle, and a pickle
may run any code while it is read, so it is opened with `torch.load(weights_only=True)`, which builds tensors and plain
containers only (https://docs.pytorch.org/docs/stable/generated/torch.load.html). Ultralytics saves whole objects; such
a file opens only if the user says that he trusts it.

    fill(network, load_state_dict(path))
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.errors import WeightsError
from exports.libraries import library, torch
from pipelines.errors import ModelError
from pipelines.safety import check_model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_SHOWN = 3  # keys named in an error
_EXPORTED = "network."  # what the exporter puts before the name of every tensor of a network
# Under which of these a training script keeps its weights inside a checkpoint.
_INSIDE = ("state_dict", "model_state_dict", "netG_state_dict", "netD_state_dict", "model")


def load_state_dict(path: Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name, on the CPU, floating ones as float32.

    trust: open a pickle of whole objects too (Ultralytics `.pt`), which can run code from the file.
    Raises WeightsError: no such file, damaged, not a checkpoint, or a pickle of objects without `trust`.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file of weights {path}")
    match path.suffix:
        case ".safetensors":
            loaded: Any = _safetensors(path)
        case ".onnx":
            loaded = _onnx(path)
        case _:
            loaded = _pickle(path, trust=trust)
    return {name: t.float() if t.is_floating_point() else t for name, t in _tensors(loaded, path).items()}


def fill(network: Module, state: Mapping[str, Tensor], name: str | None = None) -> None:
    """Put weights into a network; every tensor of the network must be there, and none may be left over.

    name: what to call the network in an error; default: its class.
    Counters of batch normalisation (`num_batches_tracked`), which old checkpoints lack, may be missing.
    Raises WeightsError that names the first missing and unexpected keys and the first shapes that differ.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k} is {tuple(state[k].shape)}, the network needs {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unexpected or shapes:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
        said = "; ".join(f"{len(keys)} {what} ({_few(keys)})" for what, keys in parts if keys)
        raise WeightsError(f"these weights belong to another network than {name or type(network).__name__}: {said}")
    network.load_state_dict(dict(state), strict=False)


def in_order(state: Mapping[str, Tensor], network: Module) -> dict[str, Tensor]:
    """Rename tensors to the network's names, matched one by one in the order both define them.

    Raises WeightsError if the counts or any two shapes differ.
    """
    own = [(k, t) for k, t in network.state_dict().items() if not k.endswith("num_batches_tracked")]
    given = [(k, t) for k, t in state.items() if not k.endswith("num_batches_tracked")]
    if len(own) != len(given):
        raise WeightsError(f"the file holds {len(given)} tensors, {type(network).__name__} needs {len(own)}")
    for (name, wanted), (other, tensor) in zip(own, given, strict=True):
        if wanted.shape != tensor.shape:
            raise WeightsError(
                f"tensor {other!r} of the file is {tuple(tensor.shape)}, {name!r} of {type(network).__name__} "
                f"needs {tuple(wanted.shape)}"
            )
    return {name: tensor for (name, _), (_, tensor) in zip(own, given, strict=True)}


def untrusted(name: str) -> WeightsError:
    """The error for a pickle of objects that nobody said he trusts, with the reason."""
    return WeightsError(
        f"{name} holds whole Python objects, not only tensors (Ultralytics saves its models so), and reading such a "
        "file can run any code somebody put into it. If you trust where it comes from, say so: --trust. Otherwise "
        "convert it to safetensors where it was made"
    )


def _safetensors(path: Path) -> Mapping[str, Any]:
    reader = library("safetensors.torch")
    try:
        loaded: Mapping[str, Any] = reader.load_file(str(path))
    except Exception as error:  # the reader's own error type is not public
        raise WeightsError(f"{path} is no whole safetensors file: {error}") from error
    return loaded


def _onnx(path: Path) -> Mapping[str, Any]:
    """The weights of a network that was exported as it stands: folded layers and quantised ones have lost theirs."""
    try:
        check_model(path)
    except ModelError as error:
        raise WeightsError(str(error)) from error
    from_numpy, onnx = torch().from_numpy, library("onnx")
    tensors = {
        tensor.name.removeprefix(_EXPORTED): from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(str(path)).graph.initializer
        if tensor.name.startswith(_EXPORTED)
    }
    if not tensors:
        raise WeightsError(f"{path} holds no weights under the names of a network: take the checkpoint it came from")
    return tensors


def _pickle(path: Path, *, trust: bool) -> Any:
    load = torch().load
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what matters is whether it opens
            return load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            if not _is_torch_file(path):
                raise WeightsError(f"{path} is no PyTorch checkpoint, or is damaged") from error
            raise untrusted(path.name) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no PyTorch checkpoint, or is damaged: {_first_line(error)}") from error
    library("ultralytics.nn.tasks")  # its classes, under the names the pickle uses
    try:
        return load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise whatever its objects raise
        raise WeightsError(f"{path} can't be read even when trusted: {_first_line(error)}") from error


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    module = torch().nn.Module
    if isinstance(loaded, Mapping) and loaded.get("ema") is not None:  # Ultralytics: the averaged weights are the best
        loaded = loaded["ema"]
    for key in _INSIDE:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping | module):
            loaded = loaded[key]
            break
    if isinstance(loaded, module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, torch().Tensor) for v in loaded.values()):
        raise WeightsError(f"{path} holds no state dict: expected tensors by name, or a checkpoint around them")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _is_torch_file(path: Path) -> bool:
    """Whether a file is the zip archive `torch.save` writes since PyTorch 1.6."""
    return zipfile.is_zipfile(path)


def _few(keys: Iterable[str]) -> str:
    named = list(keys)
    return ", ".join(named[:_SHOWN]) + (", …" if len(named) > _SHOWN else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
