"""A picture goes the whole way through the product, once with PyTorch and once with the exported file.

Decoding, fitting, the tensor and the reading of outputs are the pipelines' own functions in both; only what runs in the
middle differs. Where no pipeline reads a family (embeddings, pyramids), a picture goes the same way up to the raw
outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from exports.errors import ParityError
from exports.libraries import torch
from exports.pictures import pixels_of
from pipelines.card import Card
from pipelines.errors import CardError, ParameterError
from pipelines.geometry import Fit, fit, plan_fit
from pipelines.params import resolve_params
from pipelines.pipeline import Pipeline
from pipelines.results import Found
from pipelines.session import Session
from pipelines.tensor import Workspace, to_tensor
from pipelines.types import Image, Tensor

if TYPE_CHECKING:
    from torch.nn import Module


class Runner(Protocol):
    """What a way needs of a session."""

    card: Card
    checksum: str

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""

    def run(self, tensor: Tensor) -> list[Tensor]:
        """Run the network once."""


class TorchSession:
    """A PyTorch network where a `pipelines.session.Session` is expected.

    wrapper: `exports.wrappers.wrap` of the network.
    """

    provider = "PyTorch"
    on_gpu = False
    checksum = "pytorch"

    def __init__(self, wrapper: Module, card: Card) -> None:
        self.card = card
        self._wrapper = wrapper

    def run(self, tensor: Tensor) -> list[Tensor]:
        """Run the network once, in inference mode; as `Session.run`."""
        library = torch()
        with library.inference_mode():
            # a copy: the pipeline's buffers are written again, and a network may work in place
            outputs = self._wrapper(library.from_numpy(np.array(tensor)))
        return [output.numpy() for output in outputs]


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one picture.

    tensor: what the network got. outputs: what it gave for this picture, without a batch axis.
    found: what the pipeline read from them; None where no pipeline reads this family. plan: None for noise.
    picture: its pixels, whole; None where only the network ran.
    """

    tensor: Tensor
    outputs: list[Tensor]
    found: Found | None
    plan: Fit | None
    picture: Image | None = None


class Way:
    """The whole way of a picture around one session."""

    def __init__(self, session: Runner, params: Mapping[str, Any] | None = None) -> None:
        """Build the pipeline around a session, if one reads its family.

        params: of the task, e.g. {"score": 0.1}; ignored where no pipeline runs.
        """
        self.session, self.card = session, session.card
        self._tensor: Tensor | None = None
        self._outputs: list[Tensor] = []
        self.pipeline: Pipeline | None
        try:
            self.pipeline = Pipeline(
                cast(Session, _Recorder(session, self._keep)), resolve_params(self.card, params or {})
            )
        except (ParameterError, CardError):
            self.pipeline = None

    def see(self, source: Path | Image) -> Seen:
        """Take one picture the whole way. Raises ParityError if it fails there."""
        if self.pipeline is not None:
            result, picture = self.pipeline.process(source)
            if result.error is not None or self._tensor is None:
                reason = result.error.message if result.error else "nothing was run"
                raise ParityError(f"{self.card.name} fails in its pipeline on a picture of {result.size}: {reason}")
            plan = plan_fit(cast(tuple[int, int], result.size), self.card.input)
            pixels = picture.pixels if picture is not None else None
            return Seen(self._tensor, self._per_picture(self._outputs), result.found, plan, pixels)
        spec = self.card.input
        pixels = pixels_of(source)
        plan = plan_fit((pixels.shape[0], pixels.shape[1]), spec)
        canvas = np.empty((*plan.padded, 3), np.uint8)
        tensor = to_tensor(fit(pixels, plan, spec.resize, canvas), spec, Workspace())
        return Seen(tensor, self._per_picture(self.run(tensor)), None, plan, pixels)

    def run(self, tensor: Tensor) -> list[Tensor]:
        """Run the network alone. Raises ParityError if it fails."""
        try:
            return self.session.run(tensor)
        except Exception as error:  # PyTorch and ONNX Runtime raise what they like
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ParityError(f"{self.card.name} fails on an input of {tensor.shape}: {first[:300]}") from error

    def rows(self, tensor: Tensor, alone: Sequence[Seen | None]) -> list[Seen]:
        """Run one batch and give what came of each of its pictures.

        alone: what came of each of them alone, whose plan and pixels hold here too; None for noise.
        """
        outputs = self.run(tensor)
        for name, output in zip(self.card.outputs, outputs, strict=True):
            if output.shape[:1] != (len(alone),):
                raise ParityError(
                    f"output {name!r} of {self.card.name} has shape {output.shape} for a batch of {len(alone)}: "
                    "one row a picture was expected"
                )
        return [self._row(tensor, outputs, number, seen) for number, seen in enumerate(alone)]

    def _row(self, tensor: Tensor, outputs: list[Tensor], number: int, alone: Seen | None) -> Seen:
        own = [output[number] for output in outputs]
        plan, picture = (alone.plan, alone.picture) if alone else (None, None)
        found = self.pipeline.read_outputs(own, plan, picture) if self.pipeline and plan else None
        return Seen(tensor[number], own, found, plan, picture)

    def _per_picture(self, outputs: list[Tensor]) -> list[Tensor]:
        return outputs if self.card.input.layout == "CHW" else [output[0] for output in outputs]

    def _keep(self, tensor: Tensor, outputs: list[Tensor]) -> None:
        self._tensor, self._outputs = tensor.copy(), outputs


class _Recorder:
    """A session that lets somebody see what went in and came out."""

    def __init__(self, session: Runner, keep: Any) -> None:
        self.card, self.checksum, self.on_gpu = session.card, session.checksum, session.on_gpu
        self._session, self._keep = session, keep

    def run(self, tensor: Tensor) -> list[Tensor]:
        outputs = self._session.run(tensor)
        self._keep(tensor, outputs)
        return outputs
