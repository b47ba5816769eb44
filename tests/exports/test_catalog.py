"""The catalogue knows every network, and what it says agrees with the libraries it speaks of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exports.catalog import Entry, catalog, find
from exports.pictures import at_hand, sized
from pipelines.errors import ParameterError
from pipelines.geometry import fit, plan_fit
from pipelines.tensor import Workspace, to_tensor

REQUIRED = {
    *("lenet5", "alexnet", "vgg16", "vgg19", "googlenet", "se-resnet50", "efficientnet-lite0"),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("fasterrcnn-resnet50-fpn", "fasterrcnn-resnet50-fpn-v2", "fasterrcnn-mobilenet-v3-large-fpn"),
    *("fasterrcnn-mobilenet-v3-large-320-fpn", "ssd300-vgg16", "ssdlite320-mobilenet-v3-large"),
    *("retinanet-resnet50-fpn-v2", "maskrcnn-resnet50-fpn", "maskrcnn-resnet50-fpn-v2"),
    *(f"yolo{year}{size}{kind}" for year in (11, 26) for size in "nsmlx" for kind in ("", "-seg")),
    *("fcn-resnet50", "deeplabv3-resnet50", "deeplabv3-mobilenet-v3-large", "lraspp-mobilenet-v3-large"),
    *("dcgan-generator", "dcgan-discriminator", "transformer-net"),
    *("resnet50-embedding", "resnet50-pyramid", "efficientnet-lite0-embedding", "vgg16-pyramid"),
}
ENTRIES = [pytest.param(entry, id=entry.name) for entry in catalog()]


def test_every_network_that_was_promised_is_there_under_a_unique_name() -> None:
    names = [entry.name for entry in catalog()]

    assert set(names) >= REQUIRED
    assert len(set(names)) == len(names)


def test_the_catalogue_can_be_listed_without_importing_any_library() -> None:
    script = (
        "import sys; from exports.catalog import catalog; assert len(catalog()) > 60;"
        "heavy = {'torch', 'torchvision', 'timm', 'ultralytics', 'onnx', 'onnxruntime', 'cv2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "near"), [("resnet5", "'resnet50'"), ("yolo11", "'yolo11n'"), ("faster-rcnn-resnet50", "'fasterrcnn-")]
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(wrong: str, near: str) -> None:
    with pytest.raises(ParameterError, match=near):
        find(wrong)


def test_torchvisions_spelling_is_understood_too() -> None:
    assert find("fasterrcnn_resnet50_fpn_v2").name == "fasterrcnn-resnet50-fpn-v2"


@pytest.mark.torch
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_says_how_to_feed_it_and_where_its_weights_come_from(entry: Entry) -> None:
    facts = entry.facts()

    assert facts.outputs
    assert bool(facts.names) == (entry.task in ("classify", "detect", "segment", "instances"))
    if facts.weights:
        assert facts.weights.url or facts.weights.bundled
        assert facts.weights.licence and facts.weights.training_data
        assert facts.weights.sha256
        assert len(facts.weights.sha256) in (8, 64)
        assert set(facts.weights.sha256) <= set("0123456789abcdef")
    assert all(0 < figure.value < 1 and figure.source for figure in facts.published)


@pytest.mark.torch
def test_the_preprocessing_of_a_classifier_gives_what_torchvisions_own_transforms_give() -> None:
    torch = pytest.importorskip("torch")
    from torchvision.models import get_model_weights

    spec = find("resnet50").facts().input
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, -1, -1)
    transforms = get_model_weights("resnet50").DEFAULT.transforms(crop_size=16, resize_size=16)

    expected = transforms(pixels)
    ours = (pixels - torch.tensor(spec.mean).reshape(3, 1, 1)) / torch.tensor(spec.std).reshape(3, 1, 1)

    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (spec.resize.rule, spec.resize.shorter_side, spec.height) == ("crop", 232, 224)


@pytest.mark.torch
def test_the_preprocessing_of_a_timm_network_is_that_of_timms_own_transform() -> None:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_data_config

    cfg = timm.get_pretrained_cfg("seresnet50.a1_in1k").to_dict()
    resize, crop, *_ = create_transform(**resolve_data_config(pretrained_cfg=cfg, use_test_size=True)).transforms
    spec = find("se-resnet50").facts().input

    side = resize.size if isinstance(resize.size, int) else resize.size[0]
    assert (spec.resize.shorter_side, spec.height, spec.width) == (side, *crop.size)
    assert spec.resize.interpolation == resize.interpolation.value


@pytest.mark.torch
@pytest.mark.parametrize("size", [(480, 640), (427, 640), (640, 361)], ids=str)
def test_the_preprocessing_of_a_segmenter_is_that_of_torchvisions_own_transform(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.models import get_model_weights

    spec = find("fcn-resnet50").facts().input
    pixels = sized(next(at_hand()), size)
    plan = plan_fit(size, spec)

    expected = get_model_weights("fcn_resnet50").DEFAULT.transforms()(torch.from_numpy(pixels).permute(2, 0, 1))
    ours = to_tensor(fit(pixels, plan, spec.resize, np.empty((*plan.padded, 3), np.uint8)), spec, Workspace())[0]

    assert ours.shape == tuple(expected.shape)
    # OpenCV and PyTorch round differently, by less than a step of 255 on average
    assert np.abs(ours - expected.numpy()).mean() < 1 / 255 / 0.225


@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn-mobilenet-v3-large-320-fpn",
        "ssdlite320-mobilenet-v3-large",
        pytest.param("ssd300-vgg16", marks=pytest.mark.heavy),
        "retinanet-resnet50-fpn-v2",
        "maskrcnn-resnet50-fpn",
    ],
)
def test_a_detectors_input_size_is_the_one_it_resizes_to(name: str) -> None:
    entry = find(name)
    transform = entry.network().transform
    spec = entry.facts().input

    sides = transform.fixed_size or (transform.min_size[0], transform.max_size)
    assert (spec.height, spec.width) == tuple(sides)


@pytest.mark.torch
def test_class_names_stand_where_the_decoder_looks_them_up() -> None:
    assert find("resnet18").facts().names[281:283] == ("tabby", "tiger cat")
    assert find("yolo26n").facts().names[:2] == ("person", "bicycle")
    faster = find("fasterrcnn-resnet50-fpn").facts()
    assert faster.names[18 - faster.decode["label_offset"]] == "dog"  # COCO's category 18
    assert find("lraspp-mobilenet-v3-large").facts().names[15] == "person"  # VOC's class 15


@pytest.mark.torch
def test_published_accuracies_are_the_ones_on_record() -> None:
    def figures(name: str) -> dict[str, float]:
        return {figure.metric: figure.value for figure in find(name).facts().published}

    # torchvision's documentation, "Table of all available classification weights" and its sisters
    assert figures("alexnet") == {"top-1": 0.56522, "top-5": 0.79066}
    assert figures("maskrcnn-resnet50-fpn") == {"box mAP": 0.379, "mask mAP": 0.346}
    # Ultralytics' documentation of YOLO11
    assert figures("yolo11n") == {"box mAP": 0.395}


@pytest.mark.torch
def test_ultralytics_may_neither_install_packages_nor_ask_the_network(tmp_path: Path) -> None:
    script = (
        "from exports.libraries import library; utils = library('ultralytics.utils');"
        "assert utils.AUTOINSTALL is False; assert utils.is_online() is False"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    environment |= {"PIXELMILL_CACHE": str(tmp_path), "YOLO_AUTOINSTALL": "true"}

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (tmp_path / "ultralytics").is_dir()
