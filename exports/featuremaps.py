"""Draw what chosen layers of a network make of one picture: every channel a small map, dark blue to yellow.

Each map is stretched to its own range (darkest = its smallest value), since channels differ by orders of magnitude; the
range of the layer as a whole stands in its title. The picture goes the way every picture goes: decoded, fitted and
normalised as the network's input spec says.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from exports.errors import DescribeError
from exports.libraries import library, torch
from pipelines.card import InputSpec, read_card
from pipelines.errors import ParameterError
from pipelines.geometry import fit, plan_fit
from pipelines.image import decode, read_bytes
from pipelines.tensor import Workspace, to_tensor
from pipelines.text import text_mask
from pipelines.types import FloatArray, Image

if TYPE_CHECKING:
    from torch.nn import Module

Maps: TypeAlias = dict[str, FloatArray]  # layer → (C, h, w)

MOST_LAYERS = 6  # drawn where none is chosen
_MOST_CHANNELS = 32  # a layer; more would be too small to see
_COLUMNS = 16
_TILE, _GAP, _MARGIN = 84, 4, 16  # pixels
_TITLE, _CAPTION = 17, 11  # height of the letters in pixels
_PAPER, _INK = 250, 30


def read_picture(path: Path, spec: InputSpec) -> tuple[Image, FloatArray]:
    """Read a picture as the network sees it.

    Returns the fitted picture, (h, w, 3) uint8 RGB, and the network's input as `spec` lays it out.
    Raises pipelines.errors.ImageError if it can't be read or decoded.
    """
    picture = decode(read_bytes(path))
    plan = plan_fit(picture.size, spec)
    fitted: Image = np.empty((*plan.padded, 3), np.uint8)
    fit(picture.pixels, plan, spec.resize, fitted)
    return fitted, np.array(to_tensor(fitted, spec, Workspace()))


def torch_maps(network: Module, tensor: FloatArray, spec: InputSpec, layers: Sequence[str]) -> Maps:
    """Run a PyTorch network and keep what the named layers give (their first call).

    tensor: the network's input, from `read_picture`.
    layers: names as `describe` prints them; empty: a few convolutions.
    Raises ParameterError for a layer the network has not, DescribeError for one without maps (h × w > 1).
    """
    modules = {name: m for name, m in network.named_modules(remove_duplicate=False) if name}
    convolution = torch().nn.Conv2d
    chosen = list(layers) or _spread([n for n, m in modules.items() if isinstance(m, convolution)])
    _check(chosen, modules)
    kept: dict[str, Any] = {}
    hooks = [modules[name].register_forward_hook(_keep(name, kept)) for name in chosen]
    given = torch().from_numpy(tensor)
    try:
        with torch().no_grad():
            network([given] if spec.layout == "CHW" else given)
    finally:
        for hook in hooks:
            hook.remove()
    return _maps({name: kept.get(name) for name in chosen}, asked=bool(layers))


def onnx_maps(path: Path, tensor: FloatArray, layers: Sequence[str]) -> Maps:
    """Run an ONNX file and keep what the named nodes give.

    Raises as `torch_maps` does.
    """
    onnx, runtime = library("onnx"), library("onnxruntime")
    model = onnx.load(str(path), load_external_data=False)
    nodes = {n.name or f"{n.op_type}_{i}": n for i, n in enumerate(model.graph.node)}
    chosen = list(layers) or _spread([name for name, n in nodes.items() if n.op_type == "Conv"])
    _check(chosen, nodes)
    wanted = {name: nodes[name].output[0] for name in chosen}
    already = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in dict.fromkeys(wanted.values()) if o not in already)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(list(wanted.values()), {session.get_inputs()[0].name: tensor})
    return _maps(dict(zip(wanted, outputs, strict=True)), asked=bool(layers))


def onnx_spec(path: Path, size: tuple[int, int] | None = None) -> InputSpec:
    """How an ONNX file wants its picture: what its card says.

    size: another height and width, for a file that takes any.
    Raises CardError if it has no card, ParameterError if it takes no other size.
    """
    spec = read_card(path).input
    if size is None or size == (spec.height, spec.width):
        return spec
    if not spec.dynamic:
        raise ParameterError(f"{path.name} works at {spec.height}×{spec.width} pixels only, not at {size[0]}×{size[1]}")
    return spec.model_copy(update={"height": size[0], "width": size[1]})


def draw_maps(picture: Image, maps: Mapping[str, FloatArray], title: str) -> Image:
    """Draw a labelled grid: the picture, then a band of tiles for every layer.

    picture: (h, w, 3) uint8 RGB, as the network saw it.
    Returns (H, W, 3) uint8 RGB.
    """
    width = 2 * _MARGIN + _COLUMNS * (_TILE + _GAP) - _GAP
    bands = [_picture_band(picture, title, width)]
    bands += [_layer_band(name, values, width) for name, values in maps.items()]
    return np.concatenate(bands)


def write_png(image: Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises DescribeError if the place can't be written."""
    done, encoded = cv2.imencode(".png", image[:, :, ::-1])
    if not done:
        raise DescribeError(f"a picture of {image.shape[1]}×{image.shape[0]} pixels can't be encoded as PNG")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(encoded.tobytes())
        Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path)
    except OSError as error:
        raise DescribeError(f"{path} can't be written: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _keep(name: str, kept: dict[str, Any]) -> Any:
    def hook(_module: Any, _given: Any, gave: Any) -> None:
        if name not in kept:
            kept[name] = gave.detach().clone() if isinstance(gave, torch().Tensor) else None

    return hook


def _spread(names: Sequence[str]) -> list[str]:
    """A few names from first to last, evenly."""
    if not names:
        raise DescribeError("this network has no convolution to draw: name its layers with --layers")
    picks = np.unique(np.linspace(0, len(names) - 1, MOST_LAYERS).round().astype(int))
    return [names[i] for i in picks]


def _check(chosen: Sequence[str], known: Mapping[str, Any]) -> None:
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pixelmill describe` lists them"
            raise ParameterError(f"the network has no layer {name!r}: {hint}")


def _maps(outputs: Mapping[str, Any], *, asked: bool) -> Maps:
    """The maps of every layer; one not asked for that has none (LeNet-5's last, 1×1) is left out."""
    maps: dict[str, FloatArray] = {}
    for name, output in outputs.items():
        try:
            maps[name] = _as_map(name, output)
        except DescribeError:
            if asked:
                raise
    if not maps:
        raise DescribeError("no convolution of this network gives maps that could be drawn: name layers with --layers")
    return maps


def _as_map(name: str, output: Any) -> FloatArray:
    """The first picture's maps. output: (1, C, h, w) or (C, h, w); None if the layer did not run or gave no tensor."""
    values: NDArray[Any] | None = None if output is None else np.asarray(output, np.float32)
    if values is not None and values.ndim == 4:
        values = values[0]
    if values is None or values.ndim != 3 or values.shape[1] * values.shape[2] < 2:
        what = "no single tensor" if values is None else f"values of shape {values.shape}"
        raise DescribeError(f"layer {name!r} gives {what}, no maps that could be drawn: choose a convolution")
    return values


def _picture_band(picture: Image, title: str, width: int) -> Image:
    height = 3 * _TILE
    scale = height / picture.shape[0]
    shown = cv2.resize(
        picture,
        (min(width - 2 * _MARGIN, max(1, round(picture.shape[1] * scale))), height),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST,
    )
    band = _paper(height + 2 * _MARGIN + _TITLE + 10, width)
    _write(band, title, _MARGIN, _MARGIN, _TITLE)
    top = _MARGIN + _TITLE + 10
    band[top : top + height, _MARGIN : _MARGIN + shown.shape[1]] = shown
    size = f"as the network sees it, {picture.shape[1]} x {picture.shape[0]}"  # the built-in font has no ×
    _write(band, size, top, _MARGIN + shown.shape[1] + 12, _CAPTION + 2)
    return band


def _layer_band(name: str, values: FloatArray, width: int) -> Image:
    channels, height, wide = values.shape
    shown = min(channels, _MOST_CHANNELS)
    part = "" if shown == channels else f", the first {shown}"
    title = f"{name}: {channels} maps of {wide} x {height}{part}; values {values.min():.3g} to {values.max():.3g}"
    row = _TILE + _CAPTION + 6 + _GAP
    rows = -(-shown // _COLUMNS)
    band = _paper(_TITLE + 12 + rows * row + _MARGIN, width)
    _write(band, title, 0, _MARGIN, _TITLE)
    for channel in range(shown):
        top = _TITLE + 12 + channel // _COLUMNS * row
        left = _MARGIN + channel % _COLUMNS * (_TILE + _GAP)
        band[top : top + _TILE, left : left + _TILE] = _tile(values[channel])
        _write(band, str(channel), top + _TILE + 1, left, _CAPTION)
    return band


def _tile(values: FloatArray) -> Image:
    low, high = float(values.min()), float(values.max())
    grey = np.zeros(values.shape, np.uint8) if high <= low else ((values - low) * (255 / (high - low))).astype(np.uint8)
    # the aspect of the map is kept, so that a wide picture's maps look wide
    scale = _TILE / max(values.shape)
    sides = max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale))
    small = cv2.resize(grey, sides, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    coloured = cv2.applyColorMap(small, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    tile = _paper(_TILE, _TILE)
    top, left = (_TILE - sides[1]) // 2, (_TILE - sides[0]) // 2
    tile[top : top + sides[1], left : left + sides[0]] = coloured
    return tile


def _paper(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(band: Image, text: str, top: int, left: int, size: int) -> None:
    mask = text_mask(text, size)
    height, width = min(mask.shape[0], band.shape[0] - top), min(mask.shape[1], band.shape[1] - left)
    ink = mask[:height, :width, None].astype(np.float32) / 255
    area = band[top : top + height, left : left + width]
    area[:] = (area * (1 - ink) + _INK * ink).astype(np.uint8)
