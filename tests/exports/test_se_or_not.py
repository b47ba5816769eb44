"""The training that asks whether squeeze and excitation pays, and the table its answer stands in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import backbones  # noqa: E402
from exports.catalog import catalog  # noqa: E402
from exports.recipes.se_or_not import training  # noqa: E402

pytestmark = pytest.mark.torch


def digits(count: int) -> training.Labelled:
    """Blobs in ten places: no digits, but ten classes."""
    made = np.zeros((count, 28, 28), np.uint8)
    classes = np.arange(count) % 10
    for one, place in zip(made, classes, strict=True):
        one[2 + 2 * place : 6 + 2 * place, 8:20] = 255
    return training.Labelled(made, classes.astype(np.int64))


def test_every_classifier_of_the_catalogue_stands_in_the_table_of_backbones() -> None:
    classifiers = {entry.name for entry in catalog() if entry.task == "classify" and entry.family == "logits"}

    assert set(backbones.PUBLISHED) == classifiers
    text = backbones.DOCUMENT.read_text()
    assert all(f"| `{name}` |" in text for name in classifiers)


def test_the_unit_costs_what_its_two_small_layers_hold() -> None:
    plain, squeezed = (training.network(kind, 0) for kind in ("plain", "with SE"))

    def count(network: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    units = [module for module in squeezed.modules() if type(module).__name__.startswith("Squeeze")]
    assert len(units) == 3 * training.BLOCKS
    assert count(squeezed) - count(plain) == sum(count(unit) for unit in units)


def test_the_jitter_is_the_same_for_every_network() -> None:
    pictures = [training.jittered(digits(8).digits, np.random.default_rng(5)) for _ in range(2)]

    torch.testing.assert_close(pictures[0], pictures[1], rtol=0, atol=0)


def test_a_network_that_was_measured_is_not_trained_again(tmp_path: Path) -> None:
    schedule = replace(training.SCHEDULE, epochs=1, batch=10)
    first = training.accuracies(digits(20), digits(20), tmp_path, seeds=(0,), each=2, schedule=schedule)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    again = training.accuracies(digits(20), digits(20), tmp_path, seeds=(0,), each=2, schedule=schedule)

    assert first == again
    assert set(first) == {"plain", "with SE"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written
