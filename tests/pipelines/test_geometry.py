"""Boxes and letterboxes, against torchvision where it knows better and against themselves by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.card import InputSpec, Resize
from pipelines.geometry import fit, iou, nms, plan_fit

edges = st.integers(1, 2000)
EVERYTHING = [
    Resize(rule="letterbox", stride=32),
    Resize(rule="letterbox", anchor="top-left"),
    Resize(rule="stretch"),
    Resize(rule="crop", shorter_side=256),
    Resize(rule="shorter-side", shorter_side=256, longer_side=1024),
    Resize(rule="keep"),
]


def spec_of(resize: Resize, height: int = 320, width: int = 320, *, dynamic: bool = False) -> InputSpec:
    return InputSpec(
        name="images", height=height, width=width, dynamic=dynamic or resize.rule == "shorter-side",
        mean=(0, 0, 0), std=(1, 1, 1), resize=resize,
    )  # fmt: skip


def random_boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (count, 2))
    return np.concatenate([corners, corners + random.uniform(0, 60, (count, 2))], axis=1).astype(np.float32)


@given(height=edges, width=edges)
def test_a_dynamic_letterbox_is_a_stride_aligned_rectangle_no_longer_than_the_side(height: int, width: int) -> None:
    plan = plan_fit((height, width), spec_of(EVERYTHING[0], dynamic=True))

    assert plan.padded[0] % 32 == 0
    assert plan.padded[1] % 32 == 0
    assert max(plan.padded) == 320


@settings(deadline=None)
@given(height=edges, width=edges, resize=st.sampled_from(EVERYTHING))
def test_boxes_come_back_from_the_network_to_where_they_were(height: int, width: int, resize: Resize) -> None:
    plan = plan_fit((height, width), spec_of(resize))
    whole = np.array([[0, 0, width, height], [0, 0, width / 2, height / 3]], np.float32)

    back = plan.to_picture(plan.to_network(whole))

    np.testing.assert_allclose(back, whole, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("resize", EVERYTHING, ids=lambda r: f"{r.rule}-{r.anchor}")
@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (480, 640), (320, 320)], ids=str)
def test_any_picture_fits_and_padding_is_grey(size: tuple[int, int], resize: Resize) -> None:
    plan = plan_fit(size, spec_of(resize))
    out = np.zeros((*plan.padded, 3), np.uint8)

    fitted = fit(np.full((*size, 3), 255, np.uint8), plan, resize, out)

    assert fitted is out
    assert set(np.unique(fitted)) <= {114, 255}
    assert (fitted == 255).any()


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (257, 300), (1000, 256)], ids=str)
def test_a_crop_lies_where_torchvision_puts_it(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2")
    torch = pytest.importorskip("torch")
    plan = plan_fit(size, spec_of(Resize(rule="crop", shorter_side=256), 224, 224))
    # each pixel tells its own row and column, so a crop tells where it was taken
    rows, columns = torch.meshgrid(torch.arange(plan.scaled[0]), torch.arange(plan.scaled[1]), indexing="ij")

    resized = transforms.Resize(256)(torch.zeros(1, *size))
    cropped = transforms.CenterCrop(224)(torch.stack([rows, columns]))

    assert tuple(resized.shape[-2:]) == plan.scaled
    assert (-plan.shift[1], -plan.shift[0]) == (int(cropped[0, 0, 0]), int(cropped[1, 0, 0]))


@pytest.mark.torch
@settings(deadline=None)
@given(height=edges, width=edges, stride=st.sampled_from([1, 32]))
def test_a_shorter_side_is_resized_to_torchvisions_size_and_padded_to_the_stride(
    height: int, width: int, stride: int
) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    resize = Resize(rule="shorter-side", shorter_side=256, longer_side=1024, stride=stride)

    plan = plan_fit((height, width), spec_of(resize))

    expected = functional._compute_resized_output_size((height, width), [256], 1024)
    assert plan.scaled == tuple(max(1, side) for side in expected)  # torchvision fails on a side of 0
    assert all(padded % stride == 0 and 0 <= padded - scaled < stride
               for padded, scaled in zip(plan.padded, plan.scaled, strict=True))  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_keeps_what_torchvision_keeps(seed: int, threshold: float) -> None:
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    boxes = random_boxes(120, seed)
    scores = random.permutation(120).astype(np.float32) / 120
    classes = random.integers(0, 4, 120)

    kept = nms(boxes, scores, classes, threshold, 1000)

    expected = ops.batched_nms(*map(torch.from_numpy, (boxes, scores, classes)), threshold)
    assert kept.tolist() == expected.tolist()


@pytest.mark.torch
@pytest.mark.parametrize("limit", [1, 150, 5000])
def test_suppression_of_a_crowd_keeps_what_torchvision_keeps(limit: int) -> None:
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(6)
    boxes, scores, classes = random_boxes(1500, 6), random.permutation(1500).astype(np.float32), np.zeros(1500, int)

    kept = nms(boxes, scores, classes, 0.5, limit)

    expected = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)[:limit]
    assert len(kept) > min(limit, 150) - 1
    assert kept.tolist() == expected.tolist()


@pytest.mark.torch
def test_overlap_is_torchvisions() -> None:
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    a, b = random_boxes(40, 1), random_boxes(30, 2)

    np.testing.assert_allclose(iou(a, b), ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(), atol=1e-6)


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[5, 5, 5, 5]], np.float32)

    assert iou(point, point).tolist() == [[0.0]]


def test_nothing_and_a_limit_are_suppressed_to_what_they_are() -> None:
    nothing = np.empty((0, 4), np.float32)
    apart = np.array([[0, 0, 1, 1], [9, 9, 10, 10], [20, 20, 21, 21]], np.float32)

    assert nms(nothing, np.empty(0, np.float32), np.empty(0, np.int64), 0.5, 10).shape == (0,)
    assert nms(apart, np.array([0.1, 0.9, 0.5], np.float32), np.zeros(3, np.int64), 0.5, 2).tolist() == [1, 2]
