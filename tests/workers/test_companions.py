"""A second model that has a part in the results is named by the job, as the first one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.card import model_checksum, read_card, with_card
from pipelines.catalog import SHIPPED
from pipelines.companions import PROPOSER
from pipelines.errors import ModelError
from workers.job_request import Request, resolve
from workers.jobs import JobSpec
from workers.tasks import pipeline_for

WITH_DETECTOR = [
    ("rcnn", None, {"labels": "imagenet"}),
    ("rcnn", None, {"regions": "detector"}),
    ("instances", "coco-masks", {}),
    ("portrait", "selfie", {}),
]
WITHOUT = [
    ("rcnn", None, {}),
    ("rcnn", None, {"labels": "imagenet", "regions": "selective-search"}),
    ("instances", "smears-yolo-seg", {}),
    ("portrait", "selfie", {"confirm": False}),
    ("classify", None, {}),
]


@pytest.fixture
def other_detector(tmp_path: Path) -> Path:
    """A folder of models with another detector under the shipped one's name."""
    shipped = SHIPPED / f"{PROPOSER}.onnx"
    card = read_card(shipped).model_copy(update={"notes": ("another one",)})
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / shipped.name).write_bytes(with_card(shipped.read_bytes(), card))
    return folder


def spec_of(pipeline: str, model: str | None, params: dict[str, Any], folder: Path) -> JobSpec:
    source = folder / "photos"
    source.mkdir(exist_ok=True)
    (source / "a.jpg").write_bytes(b"never opened")
    return resolve(Request(pipeline, str(source), folder / "out", model, params))[0]


@pytest.mark.parametrize(
    ("asked", "helped"), [(one, True) for one in WITH_DETECTOR] + [(one, False) for one in WITHOUT]
)
def test_a_changed_detector_is_another_way_of_computing_where_one_helps(
    asked: tuple[str, str | None, dict[str, Any]],
    helped: bool,
    other_detector: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = spec_of(*asked, tmp_path)
    monkeypatch.setenv("PIXELMILL_MODELS", str(other_detector))

    after = spec_of(*asked, tmp_path)

    detectors = [
        model_checksum(folder / f"{PROPOSER}.onnx") if helped else None for folder in (SHIPPED, other_detector)
    ]
    assert [before.companion_sha256, after.companion_sha256] == detectors
    assert before.model_sha256 == after.model_sha256
    assert (before.fingerprint != after.fingerprint) is helped


def test_a_job_and_a_pipeline_in_this_process_have_one_fingerprint(tmp_path: Path) -> None:
    spec = spec_of("instances", "coco-masks", {}, tmp_path)

    assert pipelines.load("coco-masks", provider="cpu").fingerprint == spec.fingerprint


def test_a_worker_with_another_detector_refuses_the_job(
    other_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("instances", "coco-masks", {}, tmp_path)
    monkeypatch.setenv("PIXELMILL_MODELS", str(other_detector))

    loading = pipeline_for(spec)
    with pytest.raises(ModelError, match=r"the detector that goes with 'coco-masks' .* give all machines the same"):
        loading.__enter__()
