"""The smears that `make demo` draws look enough like smears for the shipped models to find their cells."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pipelines
from pipelines.results import Detections, SemanticMask

SCRIPT = Path(__file__).parents[2] / "samples" / "smear.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smear", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(script: ModuleType) -> np.ndarray:
    picture: np.ndarray = script.smear(script.SEEDS[0])
    return picture


def test_a_drawing_of_the_same_seed_is_the_same_and_of_another_is_not(script: ModuleType, drawn: np.ndarray) -> None:
    assert drawn.shape == (480, 640, 3)
    assert np.array_equal(script.smear(script.SEEDS[0]), drawn)
    assert not np.array_equal(script.smear(script.SEEDS[1]), drawn)


def test_segment_finds_each_kind_of_cell(drawn: np.ndarray) -> None:
    found = pipelines.load("smears-semantic", provider="cpu")(drawn).found

    assert isinstance(found, SemanticMask)
    shares = {name: float((found.class_map == k).mean()) for k, name in enumerate(found.names)}
    assert shares["red cell"] > 0.25
    assert shares["white cell"] > 0.1
    assert 0.003 < shares["platelet"] < 0.05


def test_detect_counts_the_cells_that_were_drawn(drawn: np.ndarray) -> None:
    found = pipelines.load("smears-yolo", provider="cpu")(drawn).found

    assert isinstance(found, Detections)
    counts = Counter(found.names)
    assert counts["white cell"] == 2
    assert 4 <= counts["platelet"] <= 9
    assert counts["red cell"] >= 15
