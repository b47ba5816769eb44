"""SqueezeNet 1.1 without its head, from the weights of its authors to the loss network that ships.

    python -m exports.recipes.squeezenet_pyramid.recipe --weights squeezenet1_1_caffe_fp16.safetensors

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from exports.compact import compact
from exports.libraries import library
from exports.recipes.shipping import EXPORTER, SHIPPED, put
from pipelines.card import Card, InputSpec, Resize, Weights, with_card
from pipelines.session import Session

WEIGHTS_SHA256 = "a758ce4810113453b2f247fdec5db09406e209dc38ad6bf63c49c039dfdf7d8c"
# The maps behind these modules of torchvision's `features`; strides 2, 4, 4, 8, 8, 16.
MAPS = {"conv1": 1, "fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9}
CONTENT = ("fire5",)
STYLE = ("conv1", "fire2", "fire4", "fire6")


class Trunk(nn.Module):
    """The network up to its last map, giving all that are named."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """pictures: (B, 3, H, W) BGR minus the mean. Returns one (B, C, h, w) a map, in the order of `MAPS`."""
        found = []
        for number, module in enumerate(self.features):
            pictures = module(pictures)
            if number in MAPS.values():
                found.append(pictures)
        return tuple(found)


def trunk(weights: Path) -> Trunk:
    """The network with its weights. Raises SystemExit if the file is not the one known."""
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(f"{weights} has sha256 {found}, the recipe was written for {WEIGHTS_SHA256}")
    network = library("torchvision.models").squeezenet1_1()
    network.load_state_dict({name: one.float() for name, one in load_file(weights).items()})
    return Trunk(network.features).eval()


def card() -> Card:
    """Say what the model is."""
    return Card(
        name="squeezenet-pyramid",
        task="pyramid",
        family="pyramid",
        input=InputSpec(
            name="pictures",
            colour="BGR",
            height=224,
            width=224,
            dynamic=True,
            batch=None,
            mean=(104.0, 117.0, 123.0),
            std=(1.0, 1.0, 1.0),
            resize=Resize(rule="letterbox", stride=16),
        ),
        outputs=tuple(MAPS),
        decode={"content": list(CONTENT), "style": list(STYLE)},
        precision="fp32, stored as fp16",
        weights=Weights(
            source="SqueezeNet v1.1 of its authors (github.com/forresti/SqueezeNet), squeezenet_v1.1.caffemodel",
            licence="BSD-2-Clause (DeepScale)",
            sha256=WEIGHTS_SHA256,
            training_data="ImageNet-1k",
        ),
        notes=("the loss network of `stylize --optimise`; decode says which maps it compares",),
        exporter=EXPORTER,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="squeezenet1_1_caffe_fp16.safetensors")
    parser.add_argument("--out", type=Path, default=SHIPPED / "squeezenet-pyramid.onnx", help="the file to write")
    arguments = parser.parse_args()
    network = trunk(arguments.weights)
    sides = {0: "batch", 2: "height", 3: "width"}
    with TemporaryDirectory() as name, torch.no_grad():
        written = Path(name) / "traced.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 224, 224),),
            written,
            dynamo=False,
            opset_version=17,
            input_names=["pictures"],
            output_names=list(MAPS),
            dynamic_axes={"pictures": sides} | {name: {0: "batch"} for name in MAPS},
        )
        model = onnx.load(written)
    content = with_card(compact(model, "fp16").SerializeToString(), card())
    picture = np.random.default_rng(1).uniform(-120, 150, (1, 3, 199, 263)).astype(np.float32)
    with TemporaryDirectory() as name, torch.no_grad():
        path = Path(name) / "model.onnx"
        path.write_bytes(content)
        got = Session(path, "cpu").run(picture)
        wanted = network(torch.from_numpy(picture))
        for map_name, one, other in zip(MAPS, got, wanted, strict=True):
            difference = np.abs(one - other.numpy()).max() / np.abs(other.numpy()).max()
            print(f"{map_name:8}{one.shape!s:22}largest difference from PyTorch {difference:.1e} of the largest value")
            if difference > 1e-4:
                raise SystemExit(f"map {map_name} differs from PyTorch's")
    put(arguments.out, content)
    print(f"{arguments.out.name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
