"""What can't be run is refused with the thing, its value and what to do; what finds nothing gives an empty result."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import pipelines
from pipelines.card import InputSpec, Resize
from pipelines.catalog import PIPELINES, SHIPPED
from pipelines.errors import ParameterError
from pipelines.geometry import fit, plan_fit
from pipelines.image import Limits
from pipelines.pipeline import Pipeline, build
from pipelines.results import Detections, Instances, SemanticMask
from samples.smear import smear

TINY_STYLE = Path(__file__).parent / "golden" / "tiny-style.onnx"
RUNNING = ["efficientnet-lite0", "ssd-mobilenet-v2", "smears-yolo", "smears-fasterrcnn", "smears-semantic"]
RUNNING += ["smears-yolo-seg", "coco-masks", "selfie"]


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("score", 1.5, "less than or equal to 1"),
        ("score", -0.1, "greater than or equal to 0"),
        ("score", float("nan"), "less than or equal to 1"),
        ("score", float("inf"), "less than or equal to 1"),
        ("iou", float("nan"), "less than or equal to 1"),
        ("max_detections", 0, "greater than or equal to 1"),
        ("tile", -1, "greater than or equal to 0"),
        ("tile", float("nan"), "finite"),
        ("tile", 50, "at least 64 pixels"),
        ("tile_overlap", 0.9, "less than or equal to 0.5"),
        ("tile_overlap", float("nan"), "less than or equal to 0.5"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_bound(name: str, value: float, bound: str) -> None:
    with pytest.raises(ParameterError) as refused:
        pipelines.load("smears-yolo", {name: value}, provider="cpu")

    assert f"parameter {name}" in str(refused.value)
    assert bound in str(refused.value)
    assert str(value) in str(refused.value)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 1.5, float("nan")])
def test_a_mask_threshold_of_all_or_nothing_is_refused(wrong: float) -> None:
    with pytest.raises(ParameterError, match=f"parameter mask_threshold.*it is {wrong}"):
        pipelines.load("smears-yolo-seg", {"mask_threshold": wrong}, provider="cpu")


@pytest.mark.parametrize(
    ("model", "wrong", "meant"),
    [
        ("ssd-mobilenet-v2", "catt", "did you mean 'cat'"),
        ("ssd-mobilenet-v2", "PERSON", "did you mean 'person'"),
        ("smears-yolo", "redcell", "did you mean 'red cell'"),
        ("smears-yolo-seg", "White-Cell", "did you mean 'white cell'"),
        ("smears-semantic", "platelets", "did you mean 'platelet'"),
        ("smears-fasterrcnn", "zebra", "`pixelmill models NAME` lists them"),
    ],
)
def test_a_class_the_model_lacks_is_answered_with_the_nearest(model: str, wrong: str, meant: str) -> None:
    with pytest.raises(ParameterError) as refused:
        pipelines.load(model, {"classes": [wrong]}, provider="cpu")

    assert f"model {model!r} has no class {wrong!r}: {meant}" in str(refused.value)


@pytest.mark.parametrize(
    ("pipeline", "model"),
    [
        ("classify", "smears-yolo"),
        ("detect", "efficientnet-lite0"),
        ("instances", "smears-semantic"),
        ("segment", "smears-yolo-seg"),
        ("portrait", "ssd-mobilenet-v2"),
        ("stylize", "selfie"),
    ],
)
def test_a_model_of_another_task_is_refused_with_where_to_find_one(pipeline: str, model: str) -> None:
    with pytest.raises(ParameterError) as refused:
        pipelines.load(model, pipeline=pipeline, provider="cpu")

    assert f"model {model!r} is for the task" in str(refused.value)
    assert f"not for {pipeline!r}" in str(refused.value)
    assert f"`pixelmill models --task {PIPELINES[pipeline].tasks[0]}`" in str(refused.value)


def test_a_mistyped_pipeline_is_answered_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match="no pipeline 'detct': did you mean 'detect'"):
        pipelines.load("smears-yolo", pipeline="detct", provider="cpu")


@pytest.mark.parametrize("model", RUNNING)
def test_a_picture_of_one_pixel_or_one_line_gives_a_result(model: str) -> None:
    pipeline = pipelines.load(model, provider="cpu")

    sizes = [(1, 1), (1, 2), (7, 5), (31, 33)]
    results = [pipeline(grey(*size)) for size in sizes]

    assert [result.error for result in results] == [None] * len(sizes)
    assert [result.size for result in results] == sizes


def test_what_is_too_narrow_for_a_network_fails_alone_and_says_so() -> None:
    pipeline = pipelines.load("smears-fasterrcnn", provider="cpu")

    before, narrow, after = pipeline.map([grey(48, 64), grey(1, 40_000), grey(48, 64)], threads=2)

    assert before.ok
    assert after.ok
    assert narrow.error is not None
    assert narrow.error.code == "inference_failed"
    assert "'smears-fasterrcnn' can't take a picture of 40000×1 pixels: it is too small or too narrow" in (
        narrow.error.message
    )


def test_a_crop_of_a_very_long_picture_is_the_middle_of_it() -> None:
    spec = InputSpec(
        name="x",
        height=64,
        width=64,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize=Resize(rule="crop", shorter_side=72),
    )
    rows = np.random.default_rng(0).integers(0, 256, (9, 4001, 3), np.uint8)
    smooth = np.ascontiguousarray(cv2.blur(rows, (9, 1)))
    plan = plan_fit(smooth.shape[:2], spec)
    whole = cv2.resize(smooth, plan.scaled[::-1], interpolation=cv2.INTER_LINEAR)
    left, top = -plan.shift[0], -plan.shift[1]

    given = fit(smooth, plan, spec.resize, np.empty((64, 64, 3), np.uint8))

    expected = whole[top : top + 64, left : left + 64]
    assert np.abs(given.astype(int) - expected).max() <= 2


def test_a_line_of_forty_thousand_pixels_is_classified_in_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    result = pipelines.load("efficientnet-lite0", provider="cpu")(grey(1, 40_000))

    assert result.ok
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024  # all of it took 8 GB


def limited(model: Path, params: dict[str, Any], most: int) -> Pipeline:
    return build(model, params, provider="cpu", limits=Limits(max_memory=most))


def test_a_picture_that_would_not_fit_memory_is_refused_before_and_in_tiles_it_runs() -> None:
    shipped, most = SHIPPED / "smears-fasterrcnn.onnx", 40 * 2**20
    large = cv2.resize(smear(3), (1280, 960))

    refused = limited(shipped, {}, most)(large)
    tiled = limited(shipped, {"tile": 512}, most)(large)

    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert "1280×960 pixels would take about" in refused.error.message
    assert "the limit is 40.0 MB: run it in tiles (--tile 1024) or make it smaller" in refused.error.message
    assert isinstance(tiled.found, Detections)


def test_no_limit_refuses_nothing() -> None:
    assert limited(SHIPPED / "smears-fasterrcnn.onnx", {}, 0)(grey(96, 128)).ok


def test_masks_that_would_not_fit_memory_are_refused_before_they_are_made() -> None:
    large = cv2.resize(smear(3), (3840, 2880))
    shipped = SHIPPED / "smears-yolo-seg.onnx"

    found = limited(shipped, {"score": 0.1}, 0)(large).found
    refused = limited(shipped, {"score": 0.1}, 2_500_000)(large)

    assert isinstance(found, Instances)
    assert sum(mask.pixels.nbytes for mask in found.masks) > 2_500_000
    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert f"the masks of {len(found.names)} objects would take" in refused.error.message
    assert "max_detections" in refused.error.message


# a process of its own: what it may still allocate can't be raised again
_STARVED = """
import resource, sys
import numpy as np
from pathlib import Path
from pipelines.image import Limits
from pipelines.pipeline import build

pipeline = build(Path(sys.argv[1]), provider="cpu", limits=Limits(max_memory=0))
small, large = (np.zeros((side, side, 3), np.uint8) for side in (64, 2048))
pipeline(small)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, used + 200 * 2**20))
for result in pipeline.map([small, large, small], threads=1):
    print(result.error.code if result.error else "ok", result.error.message if result.error else "")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory so")
def test_memory_that_the_runtime_is_refused_fails_that_picture_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STARVED, TINY_STYLE], capture_output=True, text=True, timeout=60, check=False
    )

    before, starved, after = done.stdout.splitlines()
    assert before.strip() == "ok"
    assert after.strip() == "ok"
    assert starved.startswith("out_of_memory there was not memory enough to run a picture of 2048×2048 pixels")
    assert "make it smaller" in starved


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("ssd-mobilenet-v2", {"score": 0.9}),
        ("smears-fasterrcnn", {"score": 0.9}),
        ("smears-yolo-seg", {"score": 0.9}),
        ("coco-masks", {"score": 0.9}),
        ("smears-yolo", {"score": 0.9, "tile": 64}),
        ("smears-yolo-seg", {"score": 0.9, "tile": 64}),
    ],
)
def test_a_picture_without_objects_gives_an_empty_result(model: str, params: dict[str, Any]) -> None:
    result = pipelines.load(model, params, provider="cpu")(grey(96, 128))

    assert isinstance(result.found, Detections | Instances)
    assert result.found.boxes.shape == (0, 4)
    assert list(result.to_json()["instances" if isinstance(result.found, Instances) else "detections"]) == []


def test_a_picture_without_cells_is_background_alone() -> None:
    found = pipelines.load("smears-semantic", {"tile": 64}, provider="cpu")(np.full((96, 128, 3), 255, np.uint8)).found

    assert isinstance(found, SemanticMask)
    assert [one["label"] for one in found.to_json()["segments"]] == ["background"]
