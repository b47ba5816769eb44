"""Who is the person: asked of every kind of network that can say so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.card import Resize, with_card
from pipelines.catalog import SHIPPED
from pipelines.errors import CardError, ParameterError
from pipelines.results import Instances, RenderedPicture, SemanticMask
from pipelines.types import Mask

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_smears = pytest.mark.skipif(not (DATA / "bccd").exists(), reason="no bccd smears; set PIXELMILL_DATA")


def passing_for_person(model: str, name: str, folder: Path) -> str:
    """A shipped model whose class of this name is called a person."""
    shipped = SHIPPED / f"{model}.onnx"
    card = pipelines.read_card(shipped)
    names = tuple("person" if known == name else known for known in card.names)
    assert "person" in names, f"{model} has no class {name}"
    path = folder / f"{model}.onnx"
    path.write_bytes(with_card(shipped.read_bytes(), card.model_copy(update={"names": names})))
    return str(path)


def smear() -> Path:
    """A smear with a white cell near its middle, which is what stands for the person here."""
    return sorted((DATA / "bccd" / "images").glob("*.jpg"))[0]


def cut_out(model: str, photo: Path, **params: Any) -> tuple[Mask, float]:
    pipeline = pipelines.load(model, {"effect": "cutout", **params}, pipeline="portrait", provider="cpu")
    found = pipeline(photo).found
    assert isinstance(found, RenderedPicture)
    return found.pixels[..., 3] > 127, found.facts["person_share"]


def overlap(a: Mask, b: Mask) -> float:
    return int((a & b).sum()) / int((a | b).sum())


@needs_smears
def test_a_semantic_segmenters_class_person_is_cut_out(tmp_path: Path) -> None:
    model = passing_for_person("smears-semantic", "white cell", tmp_path)
    segmented = pipelines.load("smears-semantic", provider="cpu")(smear()).found
    assert isinstance(segmented, SemanticMask)

    cut, share = cut_out(model, smear())

    right = segmented.class_map == segmented.names.index("white cell")
    assert right.any()
    assert overlap(cut, right) > 0.8
    assert share == pytest.approx(right.mean(), rel=0.2)


@needs_smears
def test_an_instance_segmenters_objects_called_person_are_cut_out_together(tmp_path: Path) -> None:
    model = passing_for_person("smears-yolo-seg", "white cell", tmp_path)
    found = pipelines.load("smears-yolo-seg", {"classes": ["white cell"], "score": 0.5}, provider="cpu")(smear()).found
    assert isinstance(found, Instances)
    right = np.zeros(found.size, bool)
    for mask in found.masks:
        height, width = mask.pixels.shape
        right[mask.y : mask.y + height, mask.x : mask.x + width] |= mask.pixels

    cut, share = cut_out(model, smear())

    assert right.any()
    assert overlap(cut, right) > 0.8
    assert share == pytest.approx(right.mean(), rel=0.2)


@pytest.mark.parametrize("model", ["smears-semantic", "smears-yolo-seg"])
def test_a_model_without_a_class_person_is_refused_with_the_classes_it_has(model: str) -> None:
    with pytest.raises(CardError, match="no class 'person'") as refused:
        pipelines.load(model, pipeline="portrait", provider="cpu")

    assert pipelines.read_card(SHIPPED / f"{model}.onnx").names[0] in str(refused.value)


def test_a_detector_without_masks_is_refused() -> None:
    with pytest.raises((CardError, ParameterError), match="for the task 'detect'"):
        pipelines.load("ssd-mobilenet-v2", pipeline="portrait", provider="cpu")


def test_a_model_that_crops_is_refused_for_it_does_not_see_the_whole_picture(tmp_path: Path) -> None:
    shipped = SHIPPED / "selfie.onnx"
    card = pipelines.read_card(shipped)
    cropping = card.input.model_copy(update={"resize": Resize(rule="crop", shorter_side=256)})
    path = tmp_path / "cropping.onnx"
    path.write_bytes(with_card(shipped.read_bytes(), card.model_copy(update={"input": cropping})))

    with pytest.raises(CardError, match="does not see the whole picture"):
        pipelines.load(str(path), provider="cpu")
