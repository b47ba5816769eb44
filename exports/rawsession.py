"""Open an exported file as the pipelines would, also where its input is not a picture."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnxruntime as ort

from exports.ways import Runner
from pipelines.card import Card, read_card
from pipelines.session import Session
from pipelines.types import Tensor


class NoiseSession:
    """A generator: noise in, pictures out."""

    on_gpu = False
    provider = "CPUExecutionProvider"
    checksum = ""

    def __init__(self, path: Path, card: Card, threads: int) -> None:
        self.card = card
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, tensor: Tensor) -> list[Tensor]:
        """tensor: (B, noise) float32."""
        outputs: list[Tensor] = self._session.run(None, {self.card.input.name: tensor})
        return outputs


def open_session(path: Path, threads: int) -> Runner:
    """A session on the CPU, after its card was checked against its graph.

    Raises ModelError or CardError.
    """
    card = read_card(path)
    if card.task == "generate":
        return NoiseSession(path, card, threads)
    return cast(Runner, Session(path, "cpu", threads=threads))
