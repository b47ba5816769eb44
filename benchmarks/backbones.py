"""The catalogue's classifiers side by side, and a small ResNet with and without squeeze and excitation.

    python -m benchmarks.backbones --scratch FOLDER    # three minutes and 2 GB on disk; writes into docs/backbones.md
    python -m benchmarks.backbones --scratch FOLDER --no-write

Weights are random: sizes and times do not depend on them. The accuracies of the small networks come from the trainings
in the scratch folder (half an hour for all six, `exports/recipes/se_or_not`); what it holds is not trained again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.throughput import machine, write_between
from exports.build import build
from exports.catalog import Entry, find
from exports.compact import strip
from exports.describe import describe_entry
from exports.graph import example_tensor, to_onnx
from exports.layers import Description
from exports.recipes.se_or_not import training
from exports.recipes.shipping import put
from exports.recipes.shipping import side_by_side as bytes_side_by_side
from exports.speed import side_by_side
from exports.trace import trace
from exports.wrappers import wrap

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "backbones.md"
# name → year and place of its publication
PUBLISHED = {
    "lenet5": (1998, "LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86"),
    "alexnet": (2012, "Krizhevsky, Sutskever, Hinton, NeurIPS; torchvision's is the one-column variant of 2014"),
    "vgg16": (2014, "Simonyan, Zisserman, arXiv:1409.1556"),
    "vgg19": (2014, "Simonyan, Zisserman, arXiv:1409.1556"),
    "googlenet": (2014, "Szegedy et al., arXiv:1409.4842"),
    "resnet18": (2015, "He, Zhang, Ren, Sun, arXiv:1512.03385"),
    "resnet34": (2015, "He, Zhang, Ren, Sun, arXiv:1512.03385"),
    "resnet50": (2015, "He, Zhang, Ren, Sun, arXiv:1512.03385"),
    "resnet101": (2015, "He, Zhang, Ren, Sun, arXiv:1512.03385"),
    "resnet152": (2015, "He, Zhang, Ren, Sun, arXiv:1512.03385"),
    "se-resnet50": (2017, "Hu, Shen, Sun, arXiv:1709.01507"),
    "efficientnet-lite0": (2020, "TensorFlow model garden, after Tan, Le, arXiv:1905.11946"),
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """What the table says of one network. megabytes: of its ONNX file, fp32."""

    entry: Entry
    described: Description
    milliseconds: float
    megabytes: float

    @property
    def layers(self) -> int:
        """Convolutions and fully connected layers."""
        kinds = ("conv", "linear")
        return len({layer.name for layer in self.described.layers if layer.kind.lower().startswith(kinds)})


def backbones(scratch: Path, seconds: float) -> list[Backbone]:
    """Export each network of the table, and time one picture through each in turn, on one thread."""
    files = {}
    for name in PUBLISHED:
        entry, file = find(name), scratch / f"{name}.onnx"
        files[name] = file
        if not file.exists():
            built = build(entry, "random")
            spec = entry.facts().input
            put(file, to_onnx(built.network, entry, spec, wrap(built.network, entry)).SerializeToString())
    ways: dict[str, Callable[[], Any]] = {}
    for name, file in files.items():
        ways[name] = _once(file, find(name))
    took = side_by_side(ways, seconds=seconds, least=5)
    return [
        Backbone(find(name), describe_entry(find(name)), took[name], files[name].stat().st_size / 1e6)
        for name in PUBLISHED
    ]


def table(found: list[Backbone]) -> str:
    """The networks in the order of their years."""
    lines = [
        "| network | year | layers | parameters | multiply-accumulates | published top-1 | ms | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        top = next((p for p in one.entry.facts().published if p.metric == "top-1"), None)
        accuracy = f"{top.value:.1%}{' at 288' if '288' in top.data else ''}" if top else "–"
        lines.append(
            f"| `{one.entry.name}` | {PUBLISHED[one.entry.name][0]} | {one.layers} | "
            f"{one.described.parameters / 1e6:.2f} M | {one.described.macs / 1e6:,.1f} M | {accuracy} | "
            f"{one.milliseconds:.1f} | {one.megabytes:.1f} |"
        )
    pace = {one.entry.name: one.milliseconds / one.described.macs for one in found}
    lines += [
        "",
        f"{machine()}, one thread, one picture of the network's own size. A multiply-accumulate of SE-ResNet-50 takes "
        f"{pace['se-resnet50'] / pace['resnet50']:.2f} times as long as one of ResNet-50.",
    ]
    return "\n".join(lines)


def se_table(scratch: Path) -> str:
    """Accuracy against cost of the small network, with and without the unit."""
    found = training.accuracies(*training.mnist(), scratch)
    words, files, costs = training.told(found), {}, {}
    picture = torch.zeros(1, 1, training.SIDE, training.SIDE)
    for kind in training.KINDS:
        network = training.network(kind, 0).eval()
        costs[kind] = trace(network, (picture,), name=kind, source="se_or_not")
        files[kind] = _traced(network, picture, scratch / f"{kind.replace(' ', '-')}.onnx")
    feed = {"pictures": np.random.default_rng(0).normal(size=tuple(picture.shape)).astype(np.float32)}
    took = bytes_side_by_side(files, feed, runs=400)
    lines = [
        "| | accuracy, mean (least to most of three seeds) | parameters | multiply-accumulates | ms | KB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {kind} | {words[kind]} | {costs[kind].parameters:,} | {costs[kind].macs:,} | {took[kind]:.3f} | "
        f"{len(files[kind]) / 1e3:.0f} |"
        for kind in training.KINDS
    ]
    lines += ["", _verdict(found, took)]
    return "\n".join(lines)


def _verdict(found: Mapping[str, list[float]], took: Mapping[str, float]) -> str:
    differences = [one - other for one, other in zip(found["with SE"], found["plain"], strict=True)]
    listed = ", ".join(f"{difference * 100:+.2f}" for difference in differences)
    spread = max(max(values) - min(values) for values in found.values()) * 100
    return (
        f"With the unit, seed by seed: {listed} points (mean {statistics.mean(differences) * 100:+.2f}); two seeds of "
        f"one kind lie up to {spread:.2f} apart. A picture takes {took['with SE'] / took['plain']:.2f} times as long."
    )


def _once(file: Path, entry: Entry) -> Callable[[], Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    tensor = example_tensor(entry, entry.facts().input, 1).numpy().astype(np.float32)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: tensor})


def _traced(network: torch.nn.Module, picture: torch.Tensor, file: Path) -> bytes:
    with torch.no_grad():
        torch.onnx.export(network, (picture,), file, dynamo=False, opset_version=17, input_names=["pictures"])
    model = onnx.load(file)
    strip(model)
    return bytes(model.SerializeToString())


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="where exports and trainings are kept")
    parser.add_argument("--seconds", type=float, default=60, help="for the timing of the table, at least five rounds")
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/backbones.md")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tables = {"se": se_table(options.scratch), "backbones": table(backbones(options.scratch, options.seconds))}
    for name, text in tables.items():
        print(text, end="\n\n", flush=True)
        if not options.no_write:
            write_between(DOCUMENT, name, text)


if __name__ == "__main__":
    main()
