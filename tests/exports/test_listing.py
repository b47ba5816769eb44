"""The list of networks says where each one's weights are, without fetching any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torchvision")

from exports.catalog import catalog, find
from exports.commands import export

pytestmark = pytest.mark.torch


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirror."""
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIXELMILL_WEIGHTS", raising=False)
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    return tmp_path


def rows() -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(export, ["--list", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_every_network_is_listed_with_task_accuracy_and_licence(nowhere: Path) -> None:
    listed = rows()

    assert list(listed) == [entry.name for entry in catalog()]
    assert listed["fcn-resnet50"]["published"] == ["mIoU 0.605", "pixel accuracy 0.914"]
    assert listed["yolo11n"]["needs_trust"] is True
    assert listed["lenet5"]["weights"] == "shipped"
    assert listed["transformer-net"]["weights"] == "none published"
    assert "BSD" in str(listed["resnet18"]["licence"])


def test_cached_and_mirrored_weights_are_told_from_those_to_download(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, mirrored = (find(name).facts().weights for name in ("resnet18", "resnet34"))
    assert cached is not None
    assert mirrored is not None
    (nowhere / "cache" / "weights" / cached.file).write_bytes(b"x" * 1_500_000)
    (nowhere / "mirror").mkdir()
    (nowhere / "mirror" / mirrored.file).write_bytes(b"x")
    monkeypatch.setenv("PIXELMILL_WEIGHTS", str(nowhere / "mirror"))

    listed = rows()

    assert (listed["resnet18"]["weights"], listed["resnet18"]["megabytes"]) == ("cached", 1.5)
    assert listed["resnet34"]["weights"] == "in the mirror"
    assert listed["resnet50"]["weights"] == "to download"


def test_no_name_is_a_question_that_says_where_names_are() -> None:
    done = CliRunner().invoke(export, [])

    assert done.exit_code == 2
    assert "`pixelmill export --list` lists them" in done.output
