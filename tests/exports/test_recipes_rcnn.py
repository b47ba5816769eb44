"""What an R-CNN learns, in the graph that ships, against scikit-learn's own predictions."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("onnx")
pytest.importorskip("torchvision")
pytest.importorskip("timm")

import torch
from onnx import ModelProto, TensorProto, helper
from torchvision.models.detection._utils import BoxCoder

from exports.recipes.smears_rcnn.assembly import assembled
from exports.recipes.smears_rcnn.examples import Examples
from exports.recipes.smears_rcnn.heads import NORM, deltas, learnt, machine, regression
from pipelines.errors import ParameterError
from pipelines.geometry import iou
from pipelines.rcnn import moved

pytestmark = pytest.mark.torch

FEATURES = 24


def examples(seed: int) -> Examples:
    """A made-up smear of three cells: what a region meets shows in its features, with noise."""
    random = np.random.default_rng(seed)
    truth = np.array([[10, 10, 60, 50], [80, 20, 140, 90], [30, 70, 60, 100]], np.float32)
    ids = np.array([0, 1, 0])
    jitter = np.repeat(truth, 20, axis=0) + random.normal(0, 4, (60, 4)).astype(np.float32)
    corners = random.uniform(0, 120, (60, 2))
    elsewhere = np.concatenate([corners, corners + random.uniform(5, 40, (60, 2))], axis=1)
    boxes = np.concatenate([truth, jitter, elsewhere]).astype(np.float32)
    overlap = iou(boxes, truth)
    features = random.normal(0, 0.3, (len(boxes), FEATURES))
    features[:, 0] += 3 * overlap[:, [0, 2]].max(axis=1)
    features[:, 1] += 3 * overlap[:, 1]
    features[:, 2:6] += boxes / 40
    return Examples(features.astype(np.float16), boxes, overlap, truth, ids)


def passing_on(features: int) -> ModelProto:
    """A backbone that gives its input as features."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["regions"], ["features"])],
        "identity",
        [helper.make_tensor_value_info("regions", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_scores_and_deltas_of_the_graph_are_scikit_learns() -> None:
    train, held_out = [examples(seed) for seed in range(4)], [examples(9)]
    heads = learnt(train, held_out, 2)
    session = ort.InferenceSession(
        assembled(passing_on(FEATURES), heads).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = examples(11).features.astype(np.float32)

    scores, moves = session.run(["scores", "deltas"], {"regions": rows})

    norms = np.concatenate([np.linalg.norm(part.features[:40].astype(np.float32), axis=1) for part in train])
    scale = np.float32(NORM / norms.mean())
    random = np.random.default_rng(0)
    svms = [machine(train, c, scale, random) for c in range(2)]
    ridges = [regression(train, c, scale) for c in range(2)]
    np.testing.assert_allclose(scores, np.stack([s.decision_function(rows * scale) for s in svms], 1), atol=1e-3)
    np.testing.assert_allclose(moves, np.concatenate([r.predict(rows * scale) for r in ridges], 1), atol=1e-3)
    assert ((scores[:, 0] > 0) == svms[0].predict(rows * scale)).all()


def test_what_was_learnt_tells_the_classes_of_an_unseen_smear_apart() -> None:
    unseen = examples(21)
    heads = learnt([examples(seed) for seed in range(6)], [examples(9)], 2)

    margins = unseen.features.astype(np.float32) @ heads.svm.T + heads.svm_bias

    assert margins[:3].argmax(axis=1).tolist() == unseen.class_ids.tolist()
    assert (heads.platt[:, 0] > 0).all()


def test_a_backbone_of_another_feature_size_is_refused_in_one_sentence() -> None:
    heads = learnt([examples(0), examples(1)], [examples(9)], 2)

    with pytest.raises(
        ParameterError, match=r"the backbone gives 25 features a region, .* were learnt on 24: take the"
    ):
        assembled(passing_on(FEATURES + 1), heads)


def test_deltas_and_moves_are_torchvisions() -> None:
    part = examples(3)
    regions, truth = part.boxes[3:63], part.truth.repeat(20, axis=0)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))

    ours = deltas(regions, truth)

    theirs = coder.encode_single(torch.from_numpy(truth), torch.from_numpy(regions))
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    back = coder.decode_single(theirs, torch.from_numpy(regions))
    np.testing.assert_allclose(moved(regions, ours), back.numpy(), atol=1e-3)
    np.testing.assert_allclose(moved(regions, ours), truth, atol=1e-3)
