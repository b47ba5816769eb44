"""Instances read from raw outputs, against Ultralytics' and torchvision's own post-processing of the same tensors."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.card import Card, InputSpec, Resize, Weights
from pipelines.errors import CardError
from pipelines.geometry import plan_fit
from pipelines.instances import reader
from pipelines.params import InstancesParams
from pipelines.results import Instances

LETTERBOX, KEEP = Resize(rule="letterbox"), Resize(rule="keep", stride=1)
SIZES = [(300, 450), (640, 640), (1000, 700), (97, 131), (33, 700)]
NAMES = ("cat", "dog")


def card(family: str, resize: Resize, decode: dict[str, Any] | None = None) -> Card:
    return Card(
        name="small",
        task="instances",
        family=family,
        names=NAMES,
        decode=decode or {},
        input=InputSpec(name="images", height=320, width=320, mean=(0, 0, 0), std=(1, 1, 1), resize=resize),
        weights=Weights(source="made here", licence="MIT"),
        exporter="a test",
    )


def yolo_outputs(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(4 + 2 + 32, N) and (32, 80, 80), smooth as a network's are."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    raw = np.zeros((38, count), np.float32)
    raw[0:2] = random.uniform(60, 260, (2, count))
    raw[2:4] = random.uniform(10, 200, (2, count))
    raw[4:6] = random.uniform(0, 0.9, (2, count))
    raw[6:] = random.normal(size=(32, count))
    coarse = torch.from_numpy(random.normal(size=(1, 32, 20, 20)).astype(np.float32))
    return raw, torch.nn.functional.interpolate(coarse, size=(80, 80), mode="bicubic")[0].numpy()


def overlaps(found: Instances, expected: NDArray[np.bool_]) -> list[float]:
    ratios = []
    for mask, other in zip(found.masks, expected, strict=True):
        whole = mask.whole(found.size)
        union = (whole | other).sum()
        ratios.append(float((whole & other).sum() / union) if union else 1.0)
    return ratios


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("end_to_end", [False, True], ids=["yolo11", "yolo26"])
def test_yolo_masks_are_those_of_ultralytics(size: tuple[int, int], end_to_end: bool) -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("ultralytics.utils.ops")
    raw, prototypes = yolo_outputs(40, seed=size[0])
    suppressed = pytest.importorskip("ultralytics.utils.nms").non_max_suppression(
        torch.from_numpy(raw[None]), 0.25, 0.45, nc=2
    )[0]
    boxes = ops.scale_boxes((320, 320), suppressed[:, :4].clone(), size)
    expected = ops.process_mask_native(torch.from_numpy(prototypes), suppressed[:, 6:], boxes, size).numpy() > 0
    first = suppressed.numpy() if end_to_end else raw
    one = card("yolo-seg", LETTERBOX, {"end2end": True} if end_to_end else None)

    found = reader(one, InstancesParams(score=0.25, iou=0.45))([first, prototypes], plan_fit(size, one.input))

    np.testing.assert_allclose(found.boxes, boxes.numpy(), atol=1e-3)
    np.testing.assert_allclose(found.scores, suppressed[:, 4].numpy(), atol=1e-6)
    assert found.class_ids.tolist() == suppressed[:, 5].int().tolist()
    # Ultralytics enlarges to the network's input first where padding is no whole number of cells; here it is one step
    assert min(overlaps(found, expected)) >= 0.95
    assert np.mean(overlaps(found, expected)) >= 0.99


@pytest.mark.parametrize("laid_over", ["boxes", "picture"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_torchvision_masks_are_those_torchvision_pastes(size: tuple[int, int], laid_over: str) -> None:
    torch = pytest.importorskip("torch")
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    random = np.random.default_rng(size[1])
    corners = random.uniform(-20, 0.8 * min(size), (25, 2))
    edge = np.array([size[1], size[0]] * 2)
    boxes = np.clip(np.hstack([corners, corners + random.uniform(0, max(size), (25, 2))]), 0, edge).astype(np.float32)
    scores = np.sort(random.uniform(0.3, 1, 25).astype(np.float32))[::-1]
    maps = random.uniform(0, 1, (25, 1, 28, 28)).astype(np.float32)
    pasted = heads.paste_masks_in_image(torch.from_numpy(maps), torch.from_numpy(boxes), size).numpy()
    labels = random.integers(1, 3, 25)
    one = card("torchvision-instances", KEEP, {"label_offset": 1, "masks": laid_over})
    last = maps if laid_over == "boxes" else pasted

    found = reader(one, InstancesParams())([boxes, labels, scores, last], plan_fit(size, one.input))

    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.class_ids.tolist() == (labels - 1).tolist()
    for mask, expected in zip(found.masks, pasted[:, 0] >= 0.5, strict=True):
        # both mix in float32, in another order: a value within its last digit of 0.5 falls either way
        assert (mask.whole(size) != expected).mean() < 1e-5


def test_masks_over_boxes_follow_a_letterbox_back_into_the_picture() -> None:
    one = card("torchvision-instances", LETTERBOX, {"masks": "boxes"})
    plan = plan_fit((480, 640), one.input)  # half as large in the network, 40 pixels of padding above
    boxes = np.array([[10, 60, 110, 160]], np.float32)
    maps = np.zeros((1, 1, 28, 28), np.float32)
    maps[..., 14:] = 1  # the right half

    found = reader(one, InstancesParams())([boxes, np.array([1]), np.array([0.9], np.float32), maps], plan)

    np.testing.assert_allclose(found.boxes, [[20, 40, 220, 240]])
    ys, xs = np.nonzero(found.masks[0].whole((480, 640)))
    assert abs(xs.min() - 120) <= 2
    assert abs(xs.max() - 219) <= 4
    assert abs(ys.min() - 40) <= 4
    assert abs(ys.max() - 239) <= 4


@pytest.mark.parametrize("family", ["yolo-seg", "yolo-seg-end2end", "boxes", "picture"])
def test_a_picture_without_objects_gives_no_mask(family: str) -> None:
    one, outputs = {
        "yolo-seg": (card("yolo-seg", LETTERBOX), [np.zeros((38, 0)), np.zeros((32, 80, 80))]),
        "yolo-seg-end2end": (
            card("yolo-seg", LETTERBOX, {"end2end": True}),
            [np.zeros((300, 38)), np.zeros((32, 80, 80))],
        ),
        "boxes": (
            card("torchvision-instances", KEEP, {"masks": "boxes"}),
            [np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 1, 28, 28))],
        ),
        "picture": (
            card("torchvision-instances", KEEP),
            [np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 1, 97, 131))],
        ),
    }[family]

    found = reader(one, InstancesParams())(
        [part.astype(np.float32) for part in outputs], plan_fit((97, 131), one.input)
    )

    assert found.masks == ()
    assert found.boxes.shape == (0, 4)
    assert found.to_json() == {"instances": []}


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2)], ids=str)
def test_masks_of_tiny_pictures_stay_inside_them(size: tuple[int, int]) -> None:
    one = card("yolo-seg", LETTERBOX)
    raw, prototypes = yolo_outputs(40, seed=5)

    found = reader(one, InstancesParams())([raw, prototypes], plan_fit(size, one.input))

    assert found.masks
    for mask in found.masks:
        assert mask.whole(size).shape == size
        mask.to_rle(size)


def test_a_card_that_misreads_the_outputs_is_an_error_that_says_so() -> None:
    one = card("yolo-seg", LETTERBOX, {"end2end": True})
    rows, prototypes = np.zeros((300, 38), np.float32), np.zeros((30, 80, 80), np.float32)
    read, plan = reader(one, InstancesParams(score=0)), plan_fit((480, 640), one.input)

    with pytest.raises(ValueError, match=r"32 numbers a box .* 30 prototypes: its class names or decode.end2end"):
        read([rows, prototypes], plan)
    rows[:, 5] = 7
    with pytest.raises(ValueError, match="class 7 was found, the card has 2 class names"):
        read([rows, prototypes], plan)


def test_a_class_filter_leaves_only_its_class_and_masks_stay_with_their_boxes() -> None:
    one = card("yolo-seg", LETTERBOX)
    raw, prototypes = yolo_outputs(40, seed=3)
    plan = plan_fit((480, 640), one.input)
    everything = reader(one, InstancesParams())([raw, prototypes], plan)

    dogs = reader(one, InstancesParams(classes=("dog",)))([raw, prototypes], plan)

    assert set(dogs.names) == {"dog"}
    expected = [number for number, name in enumerate(everything.names) if name == "dog"]
    np.testing.assert_array_equal(dogs.boxes, everything.boxes[expected])
    for mask, number in zip(dogs.masks, expected, strict=True):
        np.testing.assert_array_equal(mask.pixels, everything.masks[number].pixels)


def test_a_higher_mask_threshold_leaves_a_part_of_the_mask() -> None:
    one = card("yolo-seg", LETTERBOX)
    raw, prototypes = yolo_outputs(10, seed=4)
    plan = plan_fit((480, 640), one.input)

    loose = reader(one, InstancesParams(mask_threshold=0.3))([raw, prototypes], plan)
    tight = reader(one, InstancesParams(mask_threshold=0.8))([raw, prototypes], plan)

    for large, small in zip(loose.masks, tight.masks, strict=True):
        assert not (small.whole((480, 640)) & ~large.whole((480, 640))).any()
        assert small.area < large.area


@pytest.mark.parametrize("family", ["yolo-seg", "torchvision-instances"])
def test_a_hundred_objects_in_twelve_megapixels_take_little_memory(family: str) -> None:
    size = (3000, 4000)
    random = np.random.default_rng(6)
    corners = np.stack(np.meshgrid(np.arange(10) * 30, np.arange(10) * 22 + 45), axis=-1).reshape(100, 2)
    if family == "yolo-seg":
        one = card("yolo-seg", LETTERBOX, {"end2end": True})
        boxes = np.hstack([corners, corners + np.array([28, 20]), np.full((100, 1), 0.9), np.zeros((100, 1))])
        outputs = [np.hstack([boxes, random.normal(size=(100, 32))]), random.normal(size=(32, 80, 80))]
    else:
        one = card("torchvision-instances", KEEP, {"masks": "boxes"})
        boxes = np.hstack([corners * 12, corners * 12 + np.array([350, 250])])
        outputs = [boxes, np.ones(100), np.full(100, 0.9), random.uniform(size=(100, 1, 28, 28))]
    plan = plan_fit(size, one.input)
    read = reader(one, InstancesParams())
    tracemalloc.start()

    found = read([part.astype(np.float32) for part in outputs], plan)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.masks) == 100
    assert peak < 60e6  # whole masks would be 1.2 GB, and as float32 4.8 GB


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (card("yolo", LETTERBOX), "instances reads torchvision-instances, yolo-seg"),
        (card("torchvision-instances", KEEP, {"masks": "elsewhere"}), "'elsewhere'"),
        (card("torchvision-instances", KEEP, {"label_offset": "one"}), "'one'"),
    ],
    ids=["family", "masks", "offset"],
)
def test_a_card_that_instances_cannot_read_is_refused(wrong: Card, said: str) -> None:
    with pytest.raises(CardError, match=said):
        reader(wrong, InstancesParams())
