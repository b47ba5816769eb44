"""A picture's whole way, alone, in threads and in batches: the same result each time, and errors that stay alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.card import Card, InputSpec, Quality, Resize, Weights, with_card
from pipelines.errors import CardError, ParameterError, ProviderError
from pipelines.geometry import plan_fit
from pipelines.pipeline import Pipeline, build
from pipelines.results import Detections, Labels, Result

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(path for path in (ROOT / "samples").rglob("*") if path.suffix in (".jpg", ".png", ".webp"))
SHARED = Path(os.environ.get("PIXELMILL_DATA", ROOT.parent / "shared" / "data"))
YOLOX = SHARED.parent / "weights" / "yolox_nano.onnx"


@pytest.fixture(scope="module", params=["ssd-mobilenet-v2", "efficientnet-lite0"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return pipelines.load(request.param, provider="cpu")


def found(results: Sequence[Result]) -> list[Any]:
    return [(r.image, r.found.to_json() if r.found else r.error) for r in results]


def test_threads_give_what_one_call_after_the_other_gives(pipeline: Pipeline) -> None:
    alone = [pipeline(path) for path in SAMPLES]

    assert found(list(pipeline.map(SAMPLES, threads=3))) == found(alone)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [2, 5, 16])
def test_batches_give_what_single_pictures_give(pipeline: Pipeline, size: int, ordered: bool, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html>")
    sources = [*SAMPLES[:3], broken, *SAMPLES[3:]]
    begun: list[str] = []

    batched = list(pipeline.map(sources, threads=2, batch=size, ordered=ordered, before=begun.append))

    if ordered:
        assert [r.image for r in batched] == [str(path) for path in sources]
    assert sorted(begun) == sorted(map(str, sources))
    by_name = {r.image: r for r in batched}
    assert by_name[str(broken)].error is not None
    for path in SAMPLES:
        one, other = pipeline(path).found, by_name[str(path)].found
        if isinstance(one, Detections):
            assert isinstance(other, Detections)
            assert other.names == one.names
            np.testing.assert_allclose(other.boxes, one.boxes, atol=0.5)
        else:
            assert isinstance(one, Labels)
            assert isinstance(other, Labels)
            np.testing.assert_allclose(other.scores, one.scores, atol=1e-3)


def test_bound_buffers_give_what_plain_runs_give(pipeline: Pipeline) -> None:
    spec = pipeline.card.input
    tensor = np.random.default_rng(0).normal(size=(3, 3, spec.height, spec.width)).astype(np.float32)

    bound = pipeline.session.run_bound(pipeline.session.bind(), tensor)

    for one, other in zip(bound, pipeline.session.run(tensor), strict=True):
        np.testing.assert_array_equal(one, other)


def test_warming_runs_each_shape_the_pictures_will_have(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    side = pipeline.card.input.height
    run, seen = pipeline.session.run, []
    monkeypatch.setattr(pipeline.session, "run", lambda tensor: (seen.append(tensor.shape), run(tensor))[1])

    warmed = pipeline.warm(4)

    assert warmed == seen == [(1, 3, side, side), (4, 3, side, side)]


def test_a_batch_that_fails_is_run_again_picture_by_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pipelines.load("efficientnet-lite0", provider="cpu")
    run = pipeline.session.run

    def refuse_batches(tensor: np.ndarray) -> Any:
        if len(tensor) > 1:
            raise RuntimeError("out of memory on the device")
        return run(tensor)

    expected = found([pipeline(path) for path in SAMPLES])
    monkeypatch.setattr(pipeline.session, "run", refuse_batches)

    assert found(list(pipeline.map(SAMPLES, batch=4))) == expected


def test_a_network_that_fails_on_a_picture_fails_only_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pipelines.load("efficientnet-lite0", provider="cpu")
    run, calls = pipeline.session.run, []

    def fail_once(tensor: np.ndarray) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("Non-zero status code")
        return run(tensor)

    monkeypatch.setattr(pipeline.session, "run", fail_once)

    results = list(pipeline.map(SAMPLES, threads=1))

    failed = [r for r in results if r.error]
    assert len(results) == len(SAMPLES)
    assert [r.error.code for r in failed if r.error] == ["inference_failed"]


def test_arrays_bytes_and_named_sources_are_taken_too(pipeline: Pipeline) -> None:
    data = SAMPLES[0].read_bytes()
    pixels = pipelines.decode(data).pixels

    named, raw, array, wrong = pipeline.map([("a name", data), data, pixels, np.zeros((2, 2), np.uint8)], threads=1)

    assert named.image == "a name"
    assert named.found is not None
    assert raw.found is not None
    assert raw.found.to_json() == named.found.to_json()
    assert array.ok
    assert wrong.error is not None
    assert wrong.error.code == "unsupported_pixels"


def test_a_gpu_asked_for_and_not_there_is_refused_and_a_fallback_is_told() -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pipelines.load("efficientnet-lite0", provider="cuda", allow_fallback=True)
        return

    with pytest.raises(ProviderError, match="--allow-fallback"):
        pipelines.load("efficientnet-lite0", provider="cuda")
    fallen = pipelines.load("efficientnet-lite0", provider="cuda", allow_fallback=True)

    assert fallen.session.provider == "CPUExecutionProvider"


def test_a_class_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match="'cat'"):
        pipelines.load("ssd-mobilenet-v2", {"classes": ["catt"]}, provider="cpu")


def test_a_class_filter_leaves_only_that_class() -> None:
    every = pipelines.load("ssd-mobilenet-v2", provider="cpu")(ROOT / "samples" / "things" / "café.jpg").found
    cups = pipelines.load("ssd-mobilenet-v2", {"classes": ["cup"]}, provider="cpu")
    only = cups(ROOT / "samples" / "things" / "café.jpg").found

    assert isinstance(every, Detections)
    assert isinstance(only, Detections)
    assert set(only.names) == {"cup"} < set(every.names)


def yolox_card() -> Card:
    return Card(
        name="yolox-nano",
        task="detect",
        family="yolox",
        names=pipelines.read_card(ROOT / "pipelines" / "models" / "ssd-mobilenet-v2.onnx").names,
        input=InputSpec(
            name="images",
            colour="BGR",
            height=416,
            width=416,
            mean=(0, 0, 0),
            std=(1, 1, 1),
            resize=Resize(rule="letterbox", anchor="top-left"),
        ),
        decode={"strides": [8, 16, 32]},
        weights=Weights(source="Megvii YOLOX", licence="Apache-2.0"),
        quality=(Quality(metric="AP", value=0.258, data="COCO val2017, published", images=5000, measured_by="YOLOX"),),
        exporter="by hand",
    )


@pytest.mark.skipif(not YOLOX.exists(), reason="no yolox_nano.onnx beside the data; set PIXELMILL_DATA")
def test_a_file_with_a_hand_written_card_finds_what_is_in_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "yolox.onnx"
    path.write_bytes(with_card(YOLOX.read_bytes(), yolox_card()))
    detect = build(path, {"score": 0.4}, provider="cpu")

    cat = detect(ROOT / "samples" / "animals" / "cat.jpg").found
    officer = detect(ROOT / "samples" / "people" / "naval-officer.jpg").found

    assert isinstance(cat, Detections)
    assert isinstance(officer, Detections)
    assert "cat" in cat.names
    assert "person" in officer.names


@pytest.mark.skipif(not YOLOX.exists(), reason="no yolox_nano.onnx beside the data; set PIXELMILL_DATA")
def test_a_card_that_names_too_few_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yolox.onnx"
    card = yolox_card()
    path.write_bytes(with_card(YOLOX.read_bytes(), card.model_copy(update={"names": card.names[:79]})))

    with pytest.raises(CardError, match="79 class names"):
        build(path, provider="cpu")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # Ultralytics exports the way PyTorch now calls old
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_file_that_yolo_export_wrote_gives_what_ultralytics_gives(tmp_path: Path, dynamic: bool) -> None:
    pytest.importorskip("torch")
    from exports.libraries import library

    library("ultralytics")
    import torch
    from ultralytics import YOLO
    from ultralytics.utils.nms import non_max_suppression

    torch.manual_seed(0)
    network = YOLO("yolo11n.yaml", verbose=False)
    network.save(str(tmp_path / "y.pt"))
    exported = Path(YOLO(tmp_path / "y.pt").export(format="onnx", imgsz=320, dynamic=dynamic, verbose=False))
    detect = pipelines.load(str(exported), {"score": 0.6, "iou": 0.5}, provider="cpu")
    square = np.zeros((320, 320, 3), np.uint8)  # what the network takes, so that nothing is scaled in between
    # Untrained, the network says the same of every place; its shape is its own, what it says is drawn at random.
    shape = detect.session.run(np.zeros((1, 3, 320, 320), np.float32))[0].shape
    random = np.random.default_rng(7)
    raw = random.uniform(0, 1, shape).astype(np.float32) ** 8
    raw[:, :2] = random.uniform(40, 280, raw[:, :2].shape)
    raw[:, 2:4] = random.uniform(20, 80, raw[:, 2:4].shape)

    ran = detect(square)
    ours = detect.read_outputs([raw[0]], plan_fit((320, 320), detect.card.input))

    expected = non_max_suppression(torch.from_numpy(raw), conf_thres=0.6, iou_thres=0.5)[0].numpy()
    assert ran.ok
    assert detect.card.names[:2] == tuple(YOLO(tmp_path / "y.pt").names.values())[:2]
    assert isinstance(ours, Detections)
    assert len(ours.names) == len(expected) == 300
    np.testing.assert_allclose(ours.scores, expected[:, 4], atol=1e-6)
    np.testing.assert_allclose(ours.boxes, np.clip(expected[:, :4], 0, 320), atol=1e-3)
    np.testing.assert_array_equal(ours.class_ids, expected[:, 5])
