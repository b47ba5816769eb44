"""Masks in COCO JSON, run lengths and polygons, as pycocotools and torchvision read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.formats.coco import write_coco
from pipelines.masks import PlacedMask
from pipelines.results import Instances
from tests.pipelines.formats.made_lines import (
    HEIGHT,
    NAMES,
    WIDTH,
    detections,
    disc,
    instances,
    line,
    picture,
    rectangle,
    ring,
)

coco = pytest.importorskip("pycocotools.coco")

# pycocotools decodes in a way NumPy 2 calls old
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MASKS = [
    disc(60, 60, 25),
    ring(60, 60, 40, 30),
    disc(30, 30, 12) | disc(150, 90, 20),
    rectangle(10, 20, 90, 70),
    rectangle(0, 0, WIDTH, HEIGHT),
    rectangle(7, 8, 8, 9),
]
FOUND = instances(*((n % len(NAMES), 0.9 - n / 10, mask) for n, mask in enumerate(MASKS)))
LINES = [line("a.jpg", FOUND), line("broken.jpg", None), line("sub/nothing here.jpg", instances())]


def written(folder: Path, lines: list[dict[str, Any]], *, outlines: bool) -> Path:
    path = folder / "coco.json"
    with path.open("wb") as out:
        write_coco(lines, NAMES, out, outlines=outlines)
    return path


@pytest.mark.parametrize("outlines", [False, True], ids=["run-lengths", "polygons"])
def test_pycocotools_gives_every_mask_back_to_the_pixel(tmp_path: Path, outlines: bool) -> None:
    read = coco.COCO(str(written(tmp_path, LINES, outlines=outlines)))

    annotations = read.loadAnns(read.getAnnIds(imgIds=[1]))

    assert [isinstance(a["segmentation"], list) for a in annotations] == [outlines] * len(MASKS)
    for annotation, mask in zip(annotations, MASKS, strict=True):
        assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
    assert read.getImgIds() == [1, 3]
    assert read.getAnnIds(imgIds=[3]) == []


@pytest.mark.parametrize("outlines", [False, True], ids=["run-lengths", "polygons"])
def test_pycocotools_scores_masks_against_themselves_as_perfect(tmp_path: Path, outlines: bool) -> None:
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    path = written(tmp_path, LINES, outlines=outlines)
    truth = coco.COCO(str(path))

    run = evaluation.COCOeval(truth, truth.loadRes(json.loads(path.read_bytes())["annotations"]), "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()

    assert run.stats[0] == pytest.approx(1.0)


def test_torchvision_gives_each_picture_with_its_annotations(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ("a.jpg", "sub/nothing here.jpg"):
        picture(tmp_path / "photos" / name)
    path = written(tmp_path, LINES, outlines=True)

    read = datasets.CocoDetection(str(tmp_path / "photos"), str(path))

    (first, objects), (second, nothing) = read[0], read[1]
    assert first.size == second.size == (WIDTH, HEIGHT)
    assert [(a["category_id"], a["bbox"]) for a in objects[:2]] == [(1, [35, 35, 50, 50]), (2, [20, 20, 80, 80])]
    assert nothing == []


def test_an_object_without_any_pixel_is_run_lengths_in_either_case(tmp_path: Path) -> None:
    one = detections((0, 0.5, (10, 20, 30, 40)))
    nowhere = PlacedMask(0, 0, np.zeros((0, 0), bool))
    found = Instances(one.boxes, one.scores, one.class_ids, one.names, (nowhere,), (HEIGHT, WIDTH))

    read = coco.COCO(str(written(tmp_path, [line("a.jpg", found)], outlines=True)))

    (annotation,) = read.loadAnns(read.getAnnIds())
    assert not read.annToMask(annotation).any()
    assert (annotation["bbox"], annotation["area"]) == ([10, 20, 20, 20], 0)
