"""LeNet-5 on MNIST, from random weights to the file that ships, in two minutes.

    python -m exports.recipes.lenet5.recipe

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exports.catalog import find
from exports.download import sha256_of
from exports.networks.lenet5 import lenet5
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.trained import ship
from pipelines.card import InputSpec, Quality, Weights
from pipelines.geometry import fit, plan_fit
from pipelines.pipeline import Pipeline, build
from pipelines.results import Labels
from pipelines.tensor import Workspace, to_tensor

MEASURED_BY = "exports/recipes/lenet5/recipe.py"
SEED = 0
EPOCHS = 10
BATCH = 64
RATE = 3e-3  # Adam's at its highest
SHIFT = 1  # pixels of the 32×32 input a digit is moved at most, another way each time it is seen
COMPARED = 100  # digits written as pictures to compare with PyTorch
NOTE = (
    "one digit, upright and in the middle, light ink on a dark ground; for dark ink on white paper invert the picture "
    "first"
)

Digits = NDArray[np.uint8]  # (N, 28, 28), 0 = ground, 255 = ink


def inputs(digits: Digits, spec: InputSpec) -> Tensor:
    """Prepare digits as the product does: (N, 1, 32, 32) float32."""
    plan, workspace = plan_fit((28, 28), spec), Workspace()
    canvas = np.empty((*plan.padded, 3), np.uint8)
    prepared = np.empty((len(digits), 1, *plan.padded), np.float32)
    for digit, target in zip(digits, prepared, strict=True):
        grey = cv2.cvtColor(digit, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
        target[:] = to_tensor(fit(grey, plan, spec.resize, canvas), spec, workspace)[0]
    return torch.from_numpy(prepared)


def moved(batch: Tensor, shift: int) -> Tensor:
    """Move a whole batch by up to `shift` pixels, another way each time; what leaves on one side is ground anyway."""
    down, right = torch.randint(-shift, shift + 1, (2,)).tolist()
    return torch.roll(batch, (down, right), (2, 3))


def train(pictures: Tensor, digits: Tensor, epochs: int = EPOCHS) -> nn.Module:
    """Train on pictures (N, 1, 32, 32) and their digits (N,) under the fixed seed; gives the network."""
    torch.manual_seed(SEED)
    network = lenet5()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    batches = len(pictures) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * batches)
    for epoch in range(epochs):
        order, total = torch.randperm(len(pictures)), 0.0
        for first in range(0, batches * BATCH, BATCH):
            chosen = order[first : first + BATCH]
            loss = nn.functional.cross_entropy(network(moved(pictures[chosen], SHIFT)), digits[chosen])
            optimizer.zero_grad()
            torch.autograd.backward([loss])
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / batches:.4f}", flush=True)
    return network.eval()


def encoded(digits: Digits) -> Iterator[tuple[str, bytes]]:
    """Give every digit as a PNG with its number as its name."""
    for number, digit in enumerate(digits):
        yield str(number), cv2.imencode(".png", digit)[1].tobytes()


def accuracy(classify: Pipeline, digits: Digits, right: NDArray[np.uint8]) -> float:
    """Share of digits whose first class is right, read as PNG files through the product's pipeline."""
    hits = 0
    for result, wanted in zip(classify.map(encoded(digits)), right.tolist(), strict=True):
        if not isinstance(result.found, Labels):
            raise TypeError(f"digit {result.image} gave {result.error or result.found!r}, not labels")
        hits += int(result.found.class_ids[0]) == wanted
    return hits / len(digits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder(), help="the folder that holds mnist.npz")
    parser.add_argument("--out", type=Path, default=SHIPPED / "lenet5.onnx", help="the file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(arguments.data / "mnist.npz") as archive:
        mnist = {name: archive[name] for name in archive.files}
    entry = find("lenet5")
    network = train(inputs(mnist["train_x"], entry.facts().input), torch.from_numpy(mnist["train_y"]).long())

    def measure(model: Path) -> tuple[Quality, ...]:
        value = accuracy(build(model, provider="cpu"), mnist["test_x"], mnist["test_y"])
        data = "the test digits of MNIST, never trained on"
        return (Quality(metric="top-1", value=value, data=data, images=len(mnist["test_x"]), measured_by=MEASURED_BY),)

    with TemporaryDirectory() as name:
        checkpoint, pictures = Path(name) / "lenet5.pt", Path(name) / "mnist-test"
        torch.save(network.state_dict(), checkpoint)
        pictures.mkdir()
        for number, png in encoded(mnist["test_x"][:COMPARED]):
            (pictures / f"{int(number):05}.png").write_bytes(png)
        weights = Weights(
            source=f"trained by {MEASURED_BY}, {EPOCHS} epochs, seed {SEED}",
            licence="CC BY-SA 3.0, as the pictures (LeCun, Cortes, Burges)",
            sha256=sha256_of(checkpoint),
            training_data="MNIST, 60,000 training digits",
        )
        ship(entry, checkpoint, weights, pictures, measure, arguments.out, "fp32", (NOTE,))


if __name__ == "__main__":
    main()
