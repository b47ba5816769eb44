"""Print a network as a table a student can read: `describe(name_or_file)` and `table(description)`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from exports.build import build, example
from exports.catalog import Entry, find
from exports.errors import DescribeError
from exports.layers import Description, Layer, Shape, Window
from exports.onnxtrace import describe_onnx
from exports.trace import trace
from pipelines.errors import ParameterError

MAX_SIDE = 4096  # pixels: a larger input would rather fill the memory than teach anything


def describe(what: str, size: tuple[int, int] | None = None) -> Description:
    """Describe a network of the catalogue (with random weights: sizes don't depend on them) or an ONNX file.

    what: a name, or the path of a file that ends in `.onnx`.
    size: height and width of the input in pixels; None for the network's own.
    Raises ParameterError (no such network or file, a size the network does not take), DescribeError.
    """
    check_size(size)
    if is_file(what):
        return describe_onnx(Path(what), size)
    entry = find(what)
    return describe_entry(entry, size)


def describe_entry(entry: Entry, size: tuple[int, int] | None = None) -> Description:
    """Describe a network of the catalogue, built with random weights."""
    built = build(entry, "random", size=size)
    described = trace(built.network, example(entry, size), name=entry.name, source=f"{entry.library}, {entry.task}")
    if not described.layers:
        raise DescribeError(f"{entry.name} ran without calling a single layer")
    return described


def is_file(what: str) -> bool:
    """Whether a name means an ONNX file. Raises ParameterError if it does and there is none."""
    if not what.lower().endswith(".onnx"):
        return False
    if not Path(what).is_file():
        raise ParameterError(f"there is no file {what}")
    return True


def check_size(size: tuple[int, int] | None) -> None:
    """Raises ParameterError for an input size nobody can mean."""
    if size and (min(size) < 1 or max(size) > MAX_SIDE):
        raise ParameterError(f"an input of {_times(size)} pixels is out of range: 1 to {MAX_SIDE} each")


def table(described: Description) -> Table:
    """The layers as a table for a terminal, with totals in the last row."""
    rows = Table(title=_title(described), caption=_caption(described), title_justify="left", caption_justify="left")
    rows.add_column("layer", overflow="fold")
    rows.add_column("kind")
    for heading in ("kernel", "stride", "padding", "input", "output", "parameters", "MACs"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for layer in described.layers:
        rows.add_row(*_row(layer))
    rows.add_section()
    total = [f"{len({layer.name for layer in described.layers})} layers", "", "", "", "", "", ""]
    rows.add_row(*total, f"{described.parameters:,}", f"{described.macs:,}", style="bold")
    return rows


def _row(layer: Layer) -> tuple[str | Text, ...]:
    name = layer.name if layer.call == 1 else f"{layer.name} (call {layer.call})"
    return (
        Text(name),
        layer.kind,
        *_window(layer.window),
        _size(layer.input),
        _size(layer.output),
        f"{layer.parameters:,}" if layer.parameters else "",
        f"{layer.macs:,}" if layer.macs else "",
    )


def _window(window: Window | None) -> tuple[str, str, str]:
    if window is None:
        return "", "", ""
    kernel = _times(window.kernel)
    if window.dilation != (1, 1):
        kernel += f" dilated {_times(tuple(sorted(set(window.dilation))))}"
    if window.padding is None:
        padding = "same"
    else:
        (top, bottom), (left, right) = window.padding
        padding = str(top) if top == bottom == left == right else f"{top},{bottom},{left},{right}"
        if top == bottom and left == right and top != left:
            padding = f"{top}×{left}"
    return kernel, str(window.stride[0]) if window.stride[0] == window.stride[1] else _times(window.stride), padding


def _times(sides: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in sides)


def _size(shape: Shape | None) -> str:
    """Channels × height × width; the batch, 1, is left out."""
    if shape is None:
        return "?"
    return _times(shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)


def _short(count: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.2f} {name}"
    return str(count)


def _title(described: Description) -> str:
    given = " and ".join(_size(shape) for shape in described.input) or "an input of unknown size"
    return f"{described.name} ({described.source}), for {given}"


def _caption(described: Description) -> str:
    lines = [
        f"{_short(described.parameters)} parameters, {_short(described.macs)} multiply-accumulates (MACs). "
        "Output sizes: O = (I + 2P − F) / S + 1, checked."
    ]
    if described.other_macs:
        lines.append(f"{described.other_macs:,} of them in matrix products outside any layer (attention).")
    return "\n".join((*lines, *described.notes))
