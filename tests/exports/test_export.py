"""Every family exports, agrees with PyTorch on real photographs, and runs where there is no PyTorch."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from exports.catalog import catalog  # noqa: E402
from exports.catalog.entry import Family  # noqa: E402
from exports.export import Outcome, Request, export  # noqa: E402
from exports.pictures import at_hand, draw, sized  # noqa: E402
from pipelines.card import read_card, with_card  # noqa: E402
from pipelines.errors import CardError  # noqa: E402
from pipelines.session import Session  # noqa: E402
from tests.exports.small_networks import SMALL  # noqa: E402

pytestmark = pytest.mark.torch

# In a process of its own: load every file the way its task is loaded, run it where a pipeline does, and say what came.
_WITHOUT_TORCH = """
import json, sys
import numpy as np
import pipelines
from pathlib import Path
from pipelines.params import PARAMS
from pipelines.session import Session
import onnxruntime
seen = {}
for file in sys.argv[2:]:
    card = pipelines.read_card(Path(file))
    if card.task == "generate":
        session = onnxruntime.InferenceSession(file)
        made = session.run(None, {card.input.name: np.zeros((1, 100), np.float32)})[0]
        seen[card.family] = made.shape == (1, 3, 64, 64)
    elif card.task in PARAMS and card.family not in ("dcgan-judge", "box-masks"):
        seen[card.family] = pipelines.load(file)(sys.argv[1]).ok
    else:
        seen[card.family] = Session(Path(file)).card.name == card.name
print(json.dumps([seen, sorted({"torch", "torchvision", "ultralytics", "onnx"} & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real photographs, not too large."""
    made = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(itertools.islice(at_hand(), 4)):
        cv2.imwrite(str(made / f"{number}.png"), sized(path, (240, 300))[..., ::-1])
    return made


@pytest.fixture(scope="module")
def exported(folder: Path, photos: Path) -> dict[str, Outcome]:
    outcomes = {}
    for family, (entry, size) in SMALL.items():
        request = Request(entry.name, weights="random", size=size, out=folder / f"{family}.onnx", verify=photos)
        outcomes[family] = export(request, entry=entry)
    return outcomes


def test_the_small_networks_stand_for_every_family_of_the_catalogue() -> None:
    assert set(SMALL) == set(get_args(Family)) == {entry.family for entry in catalog()}


@pytest.mark.parametrize("family", SMALL)
def test_every_family_exports_and_agrees_with_pytorch_on_real_photographs(
    family: str, exported: dict[str, Outcome]
) -> None:
    report = exported[family].report

    assert report.passed, report.broken
    assert not report.forced
    if family != "dcgan":
        assert report.figures["pictures"] >= 4
        assert report.checks["sizes"]
    if SMALL[family][0].facts().input.batch is None:
        assert report.checks["batches"] == [1, 2, 5]


@pytest.mark.parametrize("family", [f for f in SMALL if "detection" in f or "instances" in f or "yolo" in f])
def test_detections_are_really_compared_and_nothing_to_find_is_tried(family: str, exported: dict[str, Outcome]) -> None:
    report = exported[family].report

    assert report.figures["detections"] > 0
    assert report.checks["nothing_to_find"]["at_score_1_onnx"] == report.checks["nothing_to_find"]["at_score_1_pytorch"]


def test_what_was_exported_loads_in_a_process_without_torch(exported: dict[str, Outcome]) -> None:
    picture = next(at_hand())
    files = [str(outcome.path) for outcome in exported.values()]

    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, str(picture), *files], capture_output=True, text=True, check=True
    )

    seen, heavy = json.loads(done.stdout)
    assert heavy == []
    assert seen == dict.fromkeys(SMALL, True)


@pytest.mark.parametrize("family", SMALL)
def test_a_card_says_what_was_measured_and_names_no_path_of_this_machine(
    family: str, exported: dict[str, Outcome], folder: Path
) -> None:
    outcome = exported[family]

    card = read_card(outcome.path)

    assert card == outcome.card
    assert card.parity["passed"] is True
    assert card.weights.source.startswith("random")
    content = outcome.path.read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert str(folder).encode() not in content


@pytest.mark.parametrize("family", ["logits", "yolo", "yolo-seg", "semantic-logits"])
def test_a_card_with_a_class_name_too_many_is_refused(
    family: str, exported: dict[str, Outcome], tmp_path: Path
) -> None:
    outcome = exported[family]
    wrong = outcome.card.model_copy(update={"names": (*outcome.card.names, "one more")})
    file = tmp_path / "wrong.onnx"
    file.write_bytes(with_card(outcome.path.read_bytes(), wrong))

    with pytest.raises(CardError, match=f"{len(wrong.names)} class names, but its graph tells"):
        Session(file, "cpu")


def test_nothing_but_the_models_is_left_beside_them(exported: dict[str, Outcome], folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{family}.onnx" for family in exported)


def test_a_batch_gives_what_its_pictures_give_alone(exported: dict[str, Outcome]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported["yolo"].path))
    pictures = np.random.default_rng(3).random((5, 3, 96, 128), np.float32)

    together = session.run(None, {"images": pictures})[0]

    alone = np.concatenate([session.run(None, {"images": picture[None]})[0] for picture in pictures])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_static_fixes_batch_and_size(tmp_path: Path) -> None:
    outcome = export(Request("lenet5", weights="random", dynamic=False, out=tmp_path / "still.onnx"))

    assert (outcome.card.input.batch, outcome.card.input.dynamic) == (1, False)
    assert "batches" not in outcome.report.checks


def test_fp16_keeps_float32_at_both_ends_and_says_what_it_is_good_for(tmp_path: Path) -> None:
    import onnxruntime

    outcome = export(Request("lenet5", weights="random", precision="fp16", out=tmp_path / "half.onnx"))

    session = onnxruntime.InferenceSession(str(outcome.path))
    assert {node.type for node in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    assert outcome.size_bytes < 0.6 * outcome.fp32_bytes
    assert any("not faster on a CPU" in note for note in outcome.card.notes)


def test_int8_is_calibrated_on_pictures_and_counts_those_it_could_not_read(tmp_path: Path) -> None:
    pictures = tmp_path / "photos"
    pictures.mkdir()
    for seed in range(24):
        cv2.imwrite(str(pictures / f"{seed}.png"), draw(seed, (40, 40)))
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")

    outcome = export(
        Request(
            "lenet5", weights="random", precision="int8", calibrate=pictures, out=tmp_path / "byte.onnx", force=True
        )
    )

    assert any("24 pictures of photos; 1 files" in note for note in outcome.card.notes)
    import onnx

    kinds = {node.op_type for node in onnx.load(str(outcome.path)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "efficientnet-lite0",
        "ssdlite320-mobilenet-v3-large",
        "fasterrcnn-mobilenet-v3-large-320-fpn",
        "lraspp-mobilenet-v3-large",
        "maskrcnn-resnet50-fpn",
        "yolo11n",
        "yolo26n",
        "yolo26n-seg",
        "resnet18-pyramid",
        "transformer-net",
    ],
)
def test_the_real_networks_export_and_agree(name: str, tmp_path: Path) -> None:
    outcome = export(Request(name, weights="random", out=tmp_path / f"{name}.onnx"))

    assert outcome.report.passed, outcome.report.broken
