"""One ONNX Runtime session, with the provider that was asked for or a clear refusal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from pipelines.card import Card, Provider, model_checksum, read_card
from pipelines.errors import CardError, ModelError, ProviderError
from pipelines.memory import release_free_memory
from pipelines.safety import check_model
from pipelines.types import Tensor

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}

# A picture is decoded and resized by the thread that owns it; OpenCV's own pool would fight with those threads.
cv2.setNumThreads(1)


class Session:
    """A loaded model: its card, checksum, and the provider that really serves it.

    Thread-safe: many threads may `run` at once (on a CPU that is the fastest arrangement: one thread inside the
    session, as many around it as there are cores).
    """

    def __init__(
        self, path: Path, provider: Provider = "auto", *, allow_fallback: bool = False, threads: int = 1
    ) -> None:
        """Load a model.

        threads: threads inside the session; 1 unless a single caller wants the lowest latency.
        Raises ModelError or CardError if the file can't be used, ProviderError if the provider does not serve.
        """
        self.path = path
        self.card: Card = read_card(path)
        check_model(path)
        self.checksum = model_checksum(path)
        self._session, self.provider = _open(path, provider, allow_fallback, threads)
        _check_against_graph(self.card, self._session, path)
        self._input = self.card.input.name
        self.outputs = self.card.outputs or tuple(output.name for output in self._session.get_outputs())
        self.optional = frozenset(value.name for value in self._session.get_overridable_initializers())
        self._run: Any = self._session.run
        self._only: Any = None
        shape = self._session.get_inputs()[0].shape
        self.width: int = shape[-1] if isinstance(shape[-1], int) else 0  # of the input's last axis; 0: any

    def only(self, outputs: tuple[str, ...]) -> None:
        """From now on give these outputs alone, and compute nothing that they don't need."""
        self.outputs = outputs
        self._only = ort.RunOptions()
        self._only.only_execute_path_to_fetches = True

    @property
    def on_gpu(self) -> bool:
        """Whether batches pay here."""
        return self.provider != _PROVIDERS["cpu"]

    def run(self, tensor: Tensor) -> list[Tensor]:
        """Run the network once.

        tensor: as the card's input says, (B, C, H, W) for layout NCHW.
        Returns one array an output, in the order of `outputs`.
        """
        result: list[Tensor] = self._run(self.outputs, {self._input: tensor}, self._only)
        return result

    def run_given(self, tensor: Tensor, given: Mapping[str, Tensor], outputs: tuple[str, ...]) -> list[Tensor]:
        """Run the network once with some of its `optional` inputs set, for these outputs."""
        result: list[Tensor] = self._run(outputs, {self._input: tensor, **given}, self._only)
        return result

    def bind(self) -> ort.IOBinding:
        """A binding of this session's inputs and outputs, so that a GPU's memory is written without a detour."""
        return self._session.io_binding()

    def run_bound(self, binding: ort.IOBinding, tensor: Tensor) -> list[Tensor]:
        """Run with bound buffers: the input is taken from host memory, the outputs come back to it."""
        binding.bind_cpu_input(self._input, np.ascontiguousarray(tensor))
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs: list[Tensor] = binding.copy_outputs_to_cpu()
        return outputs


def _open(path: Path, provider: Provider, allow_fallback: bool, threads: int) -> tuple[ort.InferenceSession, str]:
    available = ort.get_available_providers()
    if provider == "auto":
        wanted = [p for p in (_PROVIDERS["cuda"],) if p in available]
    elif provider == "cpu":
        wanted = []
    else:
        wanted = [_PROVIDERS[provider]]
        if wanted[0] not in available and not allow_fallback:
            raise ProviderError(
                f"provider {provider!r} was asked for, but this ONNX Runtime offers {_short(available)}: install "
                f"onnxruntime-gpu (docs/gpu.md), choose --provider cpu, or allow it with --allow-fallback"
            )
        if provider == "tensorrt":
            wanted.append(_PROVIDERS["cuda"])
    options = ort.SessionOptions()
    options.log_severity_level = (
        4  # what matters comes back as an error; the rest would land in the user's progress bar
    )
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = [p for p in wanted if p in available] + [_PROVIDERS["cpu"]]
    settings = [_settings(name) for name in names]
    try:
        session = ort.InferenceSession(str(path), options, providers=names, provider_options=settings)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ModelError(f"model file {path} is refused by ONNX Runtime: {reason}") from error
    release_free_memory()
    serving = session.get_providers()[0]
    if provider not in ("auto", "cpu") and serving != _PROVIDERS[provider] and not allow_fallback:
        raise ProviderError(
            f"provider {provider!r} was asked for, but {serving} serves: its driver or libraries did not load. Check "
            "the GPU's driver (docs/gpu.md), choose --provider cpu, or allow it with --allow-fallback"
        )
    return session, serving


def _settings(name: str) -> dict[str, str]:
    if name == _PROVIDERS["cuda"]:
        # the default search tries every algorithm for each new shape: seconds a shape bucket
        return {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    if name == _PROVIDERS["tensorrt"]:
        cache = os.environ.get("PIXELMILL_TENSORRT_CACHE", str(Path.home() / ".cache" / "pixelmill" / "tensorrt"))
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache, "trt_timing_cache_enable": "1"}
    return {}


def _short(providers: Sequence[str]) -> str:
    known = {full: name for name, full in _PROVIDERS.items()}
    return ", ".join(sorted(known[p] for p in providers if p in known)) or "none"


def _check_against_graph(card: Card, session: ort.InferenceSession, path: Path) -> None:
    """Compare every claim of the card about inputs and outputs with the graph. Raises CardError naming the claim."""

    def refuse(claim: str, fact: str) -> CardError:
        return CardError(f"the card of model file {path} says {claim}, but its graph {fact}: export or adopt it again")

    inputs = {i.name: i for i in session.get_inputs()}
    spec = card.input
    if spec.name not in inputs:
        raise refuse(f"input.name {spec.name!r}", f"has the inputs {', '.join(map(repr, inputs))}")
    if len(inputs) > 1:
        raise refuse("one input", f"has the inputs {', '.join(map(repr, inputs))}")
    node = inputs[spec.name]
    if node.type != _DTYPES[spec.dtype]:
        raise refuse(f"input.dtype {spec.dtype}", f"takes {node.type}")
    if card.task == "generate":  # noise, with the class behind it where the network has classes
        if len(node.shape) != 2 or not isinstance(node.shape[1], int) or node.shape[1] <= len(card.names):
            raise refuse(f"task 'generate' and {len(card.names)} classes", f"takes {node.shape}, not rows of noise")
        _check_outputs(card, session, refuse)
        return
    channels = 1 if spec.colour == "GRAY" else 3
    claimed: list[int | None] = {
        "NCHW": [spec.batch, channels, spec.height, spec.width],
        "NHWC": [spec.batch, spec.height, spec.width, channels],
        "CHW": [channels, spec.height, spec.width],
    }[spec.layout]  # type: ignore[assignment]
    if len(node.shape) != len(claimed):
        raise refuse(f"input.layout {spec.layout}", f"takes shape {node.shape}")
    for axis, (claim, fact) in enumerate(zip(claimed, node.shape, strict=True)):
        is_batch = axis == 0 and spec.layout != "CHW"
        fixed = isinstance(fact, int) and fact > 0
        if fixed and claim != fact:
            raise refuse(f"input shape {claimed}", f"takes {node.shape}")
        if fixed and spec.dynamic and spec.layout[axis] in "HW":
            raise refuse("input.dynamic", f"takes only {node.shape}")
        if is_batch and claim is None and fixed:
            raise refuse("any batch size", f"takes only {fact}")
    outputs = _check_outputs(card, session, refuse)
    _check_classes(card, [outputs[name] for name in card.outputs or outputs], refuse)


def _check_outputs(card: Card, session: ort.InferenceSession, refuse: Any) -> dict[str, Any]:
    """Every output the card names is there. Returns the shapes of all there are."""
    outputs = {o.name: o.shape for o in session.get_outputs()}
    missing = [name for name in card.outputs if name not in outputs]
    if missing:
        raise refuse(f"output {missing[0]!r}", f"has the outputs {', '.join(map(repr, outputs))}")
    return outputs


def _check_classes(card: Card, shapes: list[Any], refuse: Any) -> None:
    """`len(names) == C`, wherever the graph says what C is."""
    count = len(card.names)
    where: dict[str, tuple[int, int, int]] = {  # family → (output, axis, entries on that axis that are no class)
        "logits": (0, -1, 0),
        "probabilities": (0, -1, 0),
        "ssd": (1, -1, 0),
        "yolo": (0, 1, 4),
        "yolox": (0, -1, 5),
        "semantic-logits": (0, 1, 0),
        "rcnn": (0, -1, 0),
    }
    if card.family == "yolo-seg" and not card.decode.get("end2end") and len(shapes) > 1:
        coefficients = shapes[1][1] if len(shapes[1]) > 1 else None  # as many as there are prototypes
        if isinstance(coefficients, int):
            where["yolo-seg"] = (0, 1, 4 + coefficients)
    if card.family not in where:
        return
    output, axis, extra = where[card.family]
    if output >= len(shapes):
        raise refuse(f"family {card.family!r}", f"has only {len(shapes)} output")
    classes = shapes[output][axis] if len(shapes[output]) >= abs(axis) else None
    if isinstance(classes, int) and classes > 0 and classes - extra != count:
        raise refuse(f"{count} class names", f"tells {classes - extra} classes apart")
