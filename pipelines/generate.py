"""Pictures from a GAN: a seed goes in, a picture comes out.

dcgan  (B, noise + classes) float32, standard normal noise, then the one-hot class of a conditional network → `image`
       (B, C, H, W) in [−1, 1] and, if the file carries the discriminator, `real` (B, 1), a logit

    generate = pipelines.load("digits-dcgan", {"classes": ("3",), "truncation": 1.5})
    for result in generate.map(seed_names(64, seed=7)): ...

The latent of a seed is the same on every machine and with every version of numpy; the picture then depends on ONNX
Runtime's arithmetic alone, which may differ between kinds of processor in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np

from pipelines.geometry import Fit
from pipelines.image import Limits, Picture
from pipelines.params import GenerateParams
from pipelines.pipeline import Pipeline, Prepared, Source, Stopwatch, named
from pipelines.results import RenderedPicture, Result
from pipelines.seeds import LARGEST, seed_of
from pipelines.session import Session
from pipelines.tensor import Workspace
from pipelines.types import FloatArray, Tensor

_NORMAL = NormalDist()
_DRAWS = 52  # bits of a number drawn; one more would not be exact in float64 between the halves
# what stands for the picture that other pipelines begin with
_NOTHING = Picture(np.zeros((1, 1, 3), np.uint8), (1, 1), ())
_NOWHERE = Fit((1.0, 1.0), (0, 0), (1, 1), (1, 1), (1, 1))


def latent(seed: int, size: int, truncation: float | None = None) -> FloatArray:
    """The noise of a seed: standard normal numbers, cut off at ± truncation.

    Returns (size,) float32. The same seed gives the same direction at every truncation, only nearer to the middle:
    each number is the inverse of the (truncated) normal distribution at the same point.
    Source of the truncation: Brock, Donahue, Simonyan, "Large scale GAN training for high fidelity natural image
    synthesis", arXiv:1809.11096, section 3.1.
    """
    # raw bits, which numpy promises to keep (NEP 19), unlike what its Generator makes of them
    raw = np.random.PCG64(seed).random_raw(size) >> np.uint64(64 - _DRAWS)
    share = (raw.astype(np.float64) + 0.5) / 2.0**_DRAWS  # in (0, 1), never at its ends
    least = _NORMAL.cdf(-truncation) if truncation is not None else 0.0
    share = least + share * (1 - 2 * least)
    return np.array([_NORMAL.inv_cdf(one) for one in share.tolist()], np.float32)


def between(one: FloatArray, other: FloatArray, share: float) -> FloatArray:
    """A latent on the way from one to another, along the great circle.

    share: 0 gives `one`, 1 `other`. Source: White, "Sampling generative networks", arXiv:1609.04468, section 2.1.
    """
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    angle = float(np.arccos(np.clip(float(one @ other) / lengths, -1.0, 1.0))) if lengths else 0.0
    if np.sin(angle) < 1e-6:
        straight: FloatArray = ((1 - share) * one + share * other).astype(np.float32)
        return straight
    weights = np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle)
    curved: FloatArray = (weights[0] * one + weights[1] * other).astype(np.float32)
    return curved


class Generator(Pipeline):
    """The pipeline of a generator: its sources are the names of seeds, its results pictures."""

    params: GenerateParams

    def __init__(self, session: Session, params: GenerateParams, limits: Limits | None = None) -> None:
        super().__init__(session, params, limits)
        self._classes = len(self.card.names)
        self._noise = session.width - self._classes
        wanted = params.classes or self.card.names
        self._cycle = tuple(self.card.names.index(name) for name in wanted)
        if not params.judge and len(session.outputs) > 1:
            session.only(session.outputs[:1])

    def prepare(self, source: Source, workspace: Workspace, enough: tuple[int, int] | None = None) -> Prepared | Result:
        """Make the latent of a seed, or those of a strip: (frames, noise + classes).

        Raises ParameterError if the source is no seed's name.
        """
        name = named(source)[0]
        watch = Stopwatch()
        tensor = self.latents(seed_of(name))
        return Prepared(name, _NOTHING, _NOWHERE, tensor, None, {"preprocess": watch.lap()})

    def latents(self, seed: int) -> FloatArray:
        """What the network gets for a seed: one row, or a row a frame on the way to the next seed.

        Returns (frames, noise + classes) float32; one frame unless the parameters ask for a strip.
        """
        if not self.params.strip:
            return self._row(seed)[None]
        following = (seed + 1) % (LARGEST + 1)
        ends = self._row(seed), self._row(following)
        rows = []
        for share in np.linspace(0, 1, self.params.strip).tolist():
            noise = between(ends[0][: self._noise], ends[1][: self._noise], share)
            classes = (1 - share) * ends[0][self._noise :] + share * ends[1][self._noise :]
            rows.append(np.concatenate([noise, classes]))
        return np.stack(rows).astype(np.float32)

    def finish(self, prepared: Prepared, run: Callable[[Tensor], Sequence[Tensor]]) -> Result:
        """Run the network on the latent of a seed; the result says which seed and class it was."""
        result = super().finish(prepared, run)
        if not isinstance(result.found, RenderedPicture):
            return replace(result, size=None)
        seed = seed_of(prepared.name)
        facts: dict[str, Any] = {"seed": seed}
        if self._classes:
            facts["class"] = self.card.names[self._class(seed)]
        found = RenderedPicture(result.found.pixels, {**facts, **result.found.facts})
        return replace(result, found=found, size=None)

    def warm(self, batch: int = 1) -> list[tuple[int, ...]]:
        """Run the network once for one picture and once for a batch."""
        shapes: list[tuple[int, ...]] = []
        for count in (1, batch):
            tensor = np.zeros((count, self._noise + self._classes), np.float32)
            self.session.run(tensor)
            shapes.append(tensor.shape)
        return shapes

    def _together(self, batch: int | None) -> int:
        return 1 if self.params.strip else super()._together(batch)  # a strip is a batch of its own

    def _class(self, seed: int) -> int:
        return self._cycle[seed % len(self._cycle)]

    def _row(self, seed: int) -> FloatArray:
        hot = np.zeros(self._classes, np.float32)
        if self._classes:
            hot[self._class(seed)] = 1
        return np.concatenate([latent(seed, self._noise, self.params.truncation), hot])

    def _per_picture(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return outputs  # a strip's rows are one picture
