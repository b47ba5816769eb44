"""`pixelmill models` lists what can run, and what only waits for an export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from workers.commands.models import models


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of cached weights, with nothing in it; no models but the shipped ones."""
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PIXELMILL_MODELS", raising=False)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def rows(*options: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(models, ["--json", *options], catch_exceptions=False)
    assert done.exit_code == 0
    listed: list[dict[str, object]] = json.loads(done.stdout)
    return listed


def test_shipped_models_are_listed_with_task_size_accuracy_and_licence(weights: Path) -> None:
    lenet5 = next(row for row in rows() if row["name"] == "lenet5")

    assert (lenet5["task"], lenet5["where"], lenet5["megabytes"]) == ("classify", "shipped", 0.3)
    assert lenet5["quality"] == ["top-1 0.9911"]
    assert str(lenet5["licence"]).startswith("CC BY-SA 3.0")


def test_cached_weights_are_listed_as_the_export_noted_them(weights: Path) -> None:
    (weights / "resnet18-f37072fd.pth").write_bytes(b"x" * 1_500_000)
    noted = {"network": "resnet18", "task": "classify", "published": ["top-1 0.698"], "licence": "BSD-3-Clause"}
    (weights / "resnet18-f37072fd.pth.json").write_text(json.dumps(noted))

    (row,) = [row for row in rows("--task", "classify") if row["where"] == "cached weights"]

    assert (row["name"], row["megabytes"], row["licence"]) == ("resnet18", 1.5, "BSD-3-Clause")
    assert row["published"] == ["top-1 0.698"]
    assert "published: top-1 0.698" in " ".join(CliRunner().invoke(models, env={"COLUMNS": "250"}).output.split())
    assert "cached weights" not in {row["where"] for row in rows("--shipped")}


@pytest.mark.parametrize("note", [None, "{", '{"network": 3}'])
def test_weights_without_a_readable_note_are_listed_by_their_file(weights: Path, note: str | None) -> None:
    (weights / "net.pth").write_bytes(b"x")
    (weights / "half.pth.part").write_bytes(b"x")
    if note is not None:
        (weights / "net.pth.json").write_text(note)

    assert [row["name"] for row in rows() if row["where"] == "cached weights"] == ["net.pth"]


def test_a_card_is_printed_in_words(weights: Path) -> None:
    done = CliRunner().invoke(models, ["lenet5"], env={"COLUMNS": "250"}, catch_exceptions=False)

    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "quality: top-1 0.9911 on 10,000 images: the test digits of MNIST, never trained on" in lines
    assert "parity: passed yes" in lines
    assert not {"{", "["} & set(done.output)
