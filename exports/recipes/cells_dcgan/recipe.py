"""A conditional DCGAN of single blood cells: trained on cuts from BCCD, from random weights to the file that ships.

    python -m exports.recipes.cells_dcgan.recipe --scratch FOLDER

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exports.build import build as build_network
from exports.catalog import Entry, find
from exports.download import sha256_of
from exports.networks.embedding import TimmEmbedding
from exports.networks.gan import JudgedGenerator
from exports.recipes import bccd
from exports.recipes.cells_dcgan.data import SIDE, Cuts, cut, every_way
from exports.recipes.cells_dcgan.training import NOISE, PLAN, networks, trained
from exports.recipes.gan_quality import Features, frechet_distance, gan_facts, kernel_distance, nearest
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.trained import alone, arguments, ship
from pipelines.card import Quality, Weights
from pipelines.pipeline import build
from pipelines.results import RenderedPicture
from pipelines.seeds import seed_names

NAME = "cells-dcgan"
MEASURED_BY = "exports/recipes/cells_dcgan/recipe.py"
DATA = "cells cut from the val split of BCCD, never trained on"
MIDDLE = 4  # the block whose maps are at stride 16
SEEN_AT = 128  # pixels a cut is enlarged to before EfficientNet-Lite0 looks at it
NOTE = "for looking at, not for diagnosis, and no substitute for real cells in training"

ENTRY = Entry(
    NAME, "generate", "dcgan", "ours", partial(gan_facts, NOISE, bccd.NAMES, 3, SIDE),
    lambda: JudgedGenerator(*networks()), min_size=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What EfficientNet-Lite0 sees in N cuts: each map's mean over the picture, of the 112 in its middle, at stride 16,
    and of the 1280 last ones; (N, 112) and (N, 1280).
    """

    middle: Features
    last: Features


def seen(cuts: Cuts, body: TimmEmbedding) -> Seen:
    """Look at cuts with EfficientNet-Lite0."""
    spec, last = find("efficientnet-lite0").facts().input, []
    middle: list[Tensor] = []
    hook = body.body.blocks[MIDDLE].register_forward_hook(lambda _, __, maps: middle.append(maps.mean((2, 3))))
    with torch.no_grad():
        for start in range(0, len(cuts), 64):
            large = [
                cv2.resize(one, (SEEN_AT, SEEN_AT), interpolation=cv2.INTER_CUBIC) for one in cuts[start : start + 64]
            ]
            pixels = (np.stack(large).astype(np.float32) - spec.mean) / spec.std
            last.append(body(torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)))
    hook.remove()
    return Seen(torch.cat(middle).double().numpy(), torch.cat(last).double().numpy())


def distances(one: Seen, other: Seen) -> dict[str, float]:
    """Between two sets of cuts, by the name each has on the card."""
    return {
        "FID in EfficientNet-Lite0's block 5 (112 numbers)": frechet_distance(one.middle, other.middle),
        "KID × 1000 in EfficientNet-Lite0's features": 1000 * kernel_distance(one.last, other.last),
    }


def made(model: Path, labels: NDArray[np.int64]) -> Cuts:
    """Make as many cells of each class as there are among the labels, in the order of the classes."""
    pictures = []
    for number, name in enumerate(bccd.NAMES):
        generate = build(model, {"classes": (name,)}, provider="cpu")
        for result in generate.map(seed_names(int((labels == number).sum()))):
            if not isinstance(result.found, RenderedPicture):
                raise TypeError(f"{result.image} gave {result.error or result.found!r}, not a picture")
            pictures.append(result.found.pixels)
    return np.stack(pictures)


def figures(
    model: Path, real: tuple[Cuts, NDArray[np.int64]], learnt: Cuts, body: TimmEmbedding
) -> tuple[Quality, ...]:  # fmt: skip
    """What the card says about it. real: held-out cuts and their labels; learnt: the training cuts."""
    cuts = made(model, real[1])
    near, usual = (
        np.median(np.min([nearest(one, lying)[0] for lying in every_way(learnt)], axis=0)) for one in (cuts, real[0])
    )
    rows = {
        **distances(seen(cuts, body), seen(real[0], body)),
        "distance to the nearest training cell, over that of a held-out cell": float(near / usual),
    }
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=DATA, images=len(cuts), measured_by=MEASURED_BY)
        for metric, value in rows.items()
    )


def say_bounds(
    real: tuple[Cuts, NDArray[np.int64]], learnt: tuple[Cuts, NDArray[np.int64]], body: TimmEmbedding
) -> None:  # fmt: skip
    """Print the distances of what can't be better, and of what has not been trained."""
    there = seen(real[0], body)
    torch.manual_seed(PLAN.seed)
    with torch.no_grad():
        untrained = networks()[0].train()(torch.randn(len(real[1]), NOISE), torch.from_numpy(real[1]))
    grey = ((untrained.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
    for name, cuts in {"training cells": _like(learnt, real[1]), "the untrained generator": grey}.items():
        print(f"{name}: {distances(seen(cuts, body), there)}", flush=True)


def _like(learnt: tuple[Cuts, NDArray[np.int64]], labels: Sequence[int] | NDArray[np.int64]) -> Cuts:
    """Training cuts with the classes of others, as far as there are enough."""
    counts = np.bincount(np.asarray(labels), minlength=len(bccd.NAMES))
    there = [np.flatnonzero(learnt[1] == number) for number in range(len(counts))]
    chosen = [one[:: max(1, len(one) // count)][:count] for one, count in zip(there, counts.tolist(), strict=True)]
    return learnt[0][np.concatenate(chosen)]


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder() / "bccd").parse_args()
    torch.set_num_threads(1)
    learnt, smears = cut(bccd.load("train", given.data)), bccd.load("val", given.data)
    real = cut(smears)
    state = torch.load(trained(*learnt, given.scratch), weights_only=True)
    both = JudgedGenerator(*networks())
    both.generator.load_state_dict(state["generator"])
    both.discriminator.load_state_dict(state["discriminator"])
    checkpoint = given.scratch / "both.pt"
    torch.save(both.state_dict(), checkpoint)
    body = TimmEmbedding(build_network(find("efficientnet-lite0")).network)
    body.eval()
    say_bounds(real, learnt, body)
    weights = Weights(
        source=f"trained by {MEASURED_BY}, {PLAN.steps} steps, seed {PLAN.seed}",
        licence="MIT, as the photographs (Shenggan/BCCD_Dataset)",
        sha256=sha256_of(checkpoint),
        training_data=f"{len(learnt[1]):,} cells cut from the train split of {bccd.SOURCE}",
    )
    pictures = alone((one.path for one in smears[:4]), given.scratch)
    ship(ENTRY, checkpoint, weights, pictures, lambda m: figures(m, real, learnt[0], body), given.out, notes=(NOTE,))


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
