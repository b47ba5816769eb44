"""Make `tests/pipelines/golden/tiny-style.onnx`, the style network of 18 KB that a golden picture is made with.

    python -m tests.exports.tiny_style

Its weights are random: it paints nothing anybody would call a style, but goes the whole way of one.
"""

from __future__ import annotations

import torch

from exports.catalog import find
from exports.catalog.entry import Entry
from exports.export import Request, export
from exports.networks.transformer_net import TransformerNet
from tests.pipelines.test_golden import GOLDEN, STYLE


def tempered() -> TransformerNet:
    """Two channels, one block, and a last layer that keeps to the middle of the range instead of running out of it."""
    network = TransformerNet(2, 1)
    last = network.up[-1]
    assert isinstance(last, torch.nn.Conv2d)
    with torch.no_grad():
        last.weight.mul_(0.35)
        last.bias.fill_(0.5)  # type: ignore[union-attr]
    return network


def main() -> None:
    whole = find("transformer-net")
    entry = Entry("tiny-style", "stylize", "transformer", "ours", whole.facts, tempered, min_size=32)
    STYLE.unlink(missing_ok=True)
    outcome = export(Request(entry.name, weights="random", out=STYLE, verify=GOLDEN), entry=entry)
    print(outcome.path, outcome.size_bytes, outcome.verdict)


if __name__ == "__main__":
    main()
