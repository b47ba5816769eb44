"""A conditional DCGAN that writes digits: trained on MNIST, from random weights to the file that ships.

    python -m exports.recipes.digits_dcgan.recipe --scratch FOLDER

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exports.build import build as build_network
from exports.catalog import Entry, find
from exports.download import sha256_of
from exports.networks.gan import JudgedGenerator
from exports.recipes.digits_dcgan.training import NAMES, NOISE, PLAN, SIZE, Digits, networks, trained
from exports.recipes.gan_quality import frechet_distance, gan_facts, nearest
from exports.recipes.lenet5.recipe import encoded, inputs
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.trained import arguments, ship
from pipelines.card import Quality, Weights
from pipelines.pipeline import Pipeline, build
from pipelines.results import RenderedPicture
from pipelines.seeds import seed_names

NAME = "digits-dcgan"
MEASURED_BY = "exports/recipes/digits_dcgan/recipe.py"
DATA = "the test digits of MNIST, never trained on"
MADE = 10_000  # digits made to be measured, as many as there are test digits
COMPARED = 1000  # of them with every training digit
EDGE = 2  # pixels of ground around a digit's 28×28

ENTRY = Entry(
    NAME, "generate", "dcgan", "ours", partial(gan_facts, NOISE, NAMES, 1, SIZE), lambda: JudgedGenerator(*networks()),
    min_size=1,
)  # fmt: skip


def features(digits: Digits, classifier: nn.Module) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What LeNet-5 sees in digits: the 84 numbers of its layer F6, and the digit it reads."""
    seen, read = [], []
    with torch.no_grad():
        for start in range(0, len(digits), 500):
            x: Tensor = inputs(digits[start : start + 500], find("lenet5").facts().input)
            for name, layer in classifier.named_children():
                x = layer(x)
                if name == "tanh6":
                    seen.append(x.double().numpy())
            read.append(x.argmax(1).numpy())
    return np.concatenate(seen), np.concatenate(read)


def made(generate: Pipeline, count: int = MADE) -> Digits:
    """Digits of the first seeds, each class in turn, without the ground around them: (N, 28, 28) uint8."""
    pictures = []
    for result in generate.map(seed_names(count)):
        if not isinstance(result.found, RenderedPicture):
            raise TypeError(f"{result.image} gave {result.error or result.found!r}, not a picture")
        pictures.append(result.found.pixels[EDGE:-EDGE, EDGE:-EDGE, 0])
    return np.stack(pictures)


def figures(generate: Pipeline, real: Digits, learnt: Digits, classifier: nn.Module) -> tuple[Quality, ...]:
    """What the card says about it. real: test digits; learnt: training digits."""
    digits = made(generate)
    seen, read = features(digits, classifier)
    apart, _ = nearest(digits[:COMPARED], learnt)
    usual, _ = nearest(_evenly(real, COMPARED), learnt)
    asked = np.arange(len(digits)) % len(NAMES)
    rows = {
        "FID in LeNet-5's F6": (frechet_distance(seen, features(real, classifier)[0]), len(digits)),
        "share that LeNet-5 reads as the digit asked for": (float((read == asked).mean()), len(digits)),
        "distance to the nearest training digit, over that of a test digit": (
            float(np.median(apart) / np.median(usual)),
            COMPARED,
        ),
    }  # fmt: skip
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=DATA, images=images, measured_by=MEASURED_BY)
        for metric, (value, images) in rows.items()
    )


def say_bounds(real: Digits, learnt: Digits, classifier: nn.Module) -> None:
    """Print the distance of what can't be better, and of what has not been trained."""
    there = features(real, classifier)[0]
    floor = frechet_distance(features(_evenly(learnt, len(real)), classifier)[0], there)
    torch.manual_seed(PLAN.seed)
    with torch.no_grad():
        noise = torch.randn(2000, NOISE)
        untrained = networks()[0].train()(noise, torch.arange(2000) % len(NAMES))
    grey = ((untrained[:, 0, EDGE:-EDGE, EDGE:-EDGE].numpy() + 1) * 127.5).round().astype(np.uint8)
    start = frechet_distance(features(grey, classifier)[0], there)
    print(f"FID of training digits: {floor:.2f}; of the untrained generator: {start:.2f}", flush=True)


def _evenly(digits: Digits, count: int) -> Digits:
    """Some digits of every class: MNIST comes sorted here."""
    return digits[:: len(digits) // count][:count]


def main() -> None:
    given = arguments(__doc__ or "", SHIPPED / f"{NAME}.onnx", data_folder()).parse_args()
    torch.set_num_threads(1)
    with np.load(given.data / "mnist.npz") as archive:
        mnist = {name: archive[name] for name in archive.files}
    state = torch.load(trained(mnist["train_x"], mnist["train_y"], given.scratch), weights_only=True)
    both = JudgedGenerator(*networks())
    both.generator.load_state_dict(state["generator"])
    both.discriminator.load_state_dict(state["discriminator"])
    checkpoint, pictures = given.scratch / "both.pt", given.scratch / "pictures"
    torch.save(both.state_dict(), checkpoint)
    pictures.mkdir(exist_ok=True)
    for name, png in encoded(mnist["test_x"][:8]):
        (pictures / f"{name}.png").write_bytes(png)
    classifier = build_network(find("lenet5")).network.eval()
    say_bounds(mnist["test_x"], mnist["train_x"], classifier)

    def measure(model: Path) -> tuple[Quality, ...]:
        return figures(build(model, provider="cpu"), mnist["test_x"], mnist["train_x"], classifier)

    weights = Weights(
        source=f"trained by {MEASURED_BY}, {PLAN.steps} steps, seed {PLAN.seed}",
        licence="CC BY-SA 3.0, as the pictures (LeCun, Cortes, Burges)",
        sha256=sha256_of(checkpoint),
        training_data="MNIST, 60,000 training digits",
    )
    ship(ENTRY, checkpoint, weights, pictures, measure, given.out)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
