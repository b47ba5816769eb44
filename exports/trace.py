"""A PyTorch network as a list of layers: one run with a hook on every layer that holds no others.

trace(network, example(entry), name="resnet18")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exports.errors import DescribeError
from exports.layers import Description, Layer, Shape, Window
from exports.libraries import library as import_library
from exports.libraries import torch

if TYPE_CHECKING:
    from torch.nn import Module


def trace(network: Module, inputs: tuple[Any, ...], *, name: str, source: str = "") -> Description:
    """Run a network once and describe every layer in the order of the calls.

    inputs: what `network(*inputs)` takes (`exports.build.example`).
    Raises DescribeError if the network can't be run on them or a size rule fails.
    """
    library = torch()
    layers: list[Layer] = []
    calls: dict[str, int] = {}
    seen: set[int] = set()
    running: list[tuple[str, Any]] = [("", network)]  # the layers that hold the one that runs, outermost first

    def listen(own_path: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, given: Any, gave: Any) -> None:
            path = _called_as(module, running[-1]) or own_path
            calls[path] = calls.get(path, 0) + 1
            own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
            seen.update(id(p) for p in own)
            entering, leaving = _shape(given), _shape(gave)
            layers.append(
                Layer(
                    name=path,
                    kind=type(module).__name__,
                    input=entering,
                    output=leaving,
                    window=_window(module, entering, leaving),
                    parameters=sum(p.numel() for p in own),
                    macs=_macs(module, entering, leaving),
                    call=calls[path],
                ).checked()
            )

        return hook

    def enter(own_path: str) -> Callable[[Any, Any], None]:
        return lambda module, _: running.append((_called_as(module, running[-1]) or own_path, module))

    def leave(_module: Any, _given: Any, _gave: Any) -> None:
        running.pop()

    hooks = []
    for path, module in network.named_modules():
        if not path:
            continue
        if any(True for _ in module.children()):
            hooks += [module.register_forward_pre_hook(enter(path)), module.register_forward_hook(leave)]
        else:
            hooks.append(module.register_forward_hook(listen(path)))
    counter = import_library("torch.utils.flop_counter").FlopCounterMode(display=False)
    try:
        with library.no_grad(), counter:
            network(*inputs)
    except (RuntimeError, ValueError) as error:
        sizes = ", ".join(str(tuple(t.shape)) for t in _flat(inputs))
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise DescribeError(f"{name} can't run on an input of {sizes}: {first}") from error
    finally:
        for hook in hooks:
            hook.remove()
    counted = counter.get_total_flops() // 2
    return Description(
        name=name,
        source=source,
        input=tuple(tuple(t.shape) for t in _flat(inputs)),
        layers=tuple(layers),
        parameters=sum(p.numel() for p in network.parameters()),
        other_macs=max(0, counted - sum(layer.macs for layer in layers)),
    )


def _called_as(module: Any, holder: tuple[str, Any]) -> str | None:
    """The path of a layer under the layer that calls it: one that several layers share has a path in each."""
    path, parent = holder
    for name, child in parent.named_children():
        if child is module:
            return f"{path}.{name}" if path else name
    return None


def _flat(values: Any) -> list[Any]:
    """Every tensor in nested tuples, lists and dicts, in order."""
    if isinstance(values, torch().Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _flat(value)]
    return []


def _shape(values: Any) -> Shape | None:
    tensors = _flat(values)
    return tuple(tensors[0].shape) if tensors else None


def _pair(value: Any) -> tuple[int, int]:
    """A setting that is one number for both axes, or two."""
    if isinstance(value, tuple | list):
        return int(value[0]), int(value[-1])
    return int(value), int(value)


def _window(module: Any, entering: Shape | None, leaving: Shape | None) -> Window | None:
    nn = torch().nn
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return _adaptive(entering, leaving)
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d | nn.AvgPool2d):
        return None
    padding: tuple[tuple[int, int], tuple[int, int]] | None
    if type(module).__name__.endswith("Same"):  # timm's convolutions that pad as TensorFlow does, by the input's size
        padding = None
    else:
        tall, wide = _pair(module.padding)
        padding = (tall, tall), (wide, wide)
    return Window(
        kernel=_pair(module.kernel_size),
        stride=_pair(module.stride),
        padding=padding,
        dilation=_pair(getattr(module, "dilation", 1)),
        transposed=isinstance(module, nn.ConvTranspose2d),
        extra=_pair(getattr(module, "output_padding", 0)),
        ceil=bool(getattr(module, "ceil_mode", False)),
    )


def _adaptive(entering: Shape | None, leaving: Shape | None) -> Window | None:
    """The window an adaptive pooling amounts to, where its output divides its input; else it has none."""
    if entering is None or leaving is None:
        return None
    (ih, iw), (oh, ow) = entering[-2:], leaving[-2:]
    if ih % oh or iw % ow:
        return None
    step = (ih // oh, iw // ow)
    return Window(kernel=step, stride=step)


def _macs(module: Any, entering: Shape | None, leaving: Shape | None) -> int:
    nn = torch().nn
    if entering is None or leaving is None:
        return 0
    if isinstance(module, nn.ConvTranspose2d):  # every number of the input is spread over a kernel
        taps = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        return _product(entering) * int(taps)
    if isinstance(module, nn.Conv2d):
        taps = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        return _product(leaving) * int(taps)
    if isinstance(module, nn.Linear):
        return _product(leaving) * int(module.in_features)
    return 0


def _product(shape: Shape) -> int:
    total = 1
    for side in shape:
        total *= int(side)
    return total
