"""Bad input to `export` gives one clear sentence, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

import exports.export as the_export  # noqa: E402
from exports.commands import export as command  # noqa: E402
from exports.errors import ParityError, WeightsError  # noqa: E402
from exports.export import Request, export  # noqa: E402
from exports.parity import Report  # noqa: E402
from pipelines.card import read_card  # noqa: E402
from pipelines.errors import ParameterError  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIXELMILL_OFFLINE", "1")
    monkeypatch.delenv("PIXELMILL_WEIGHTS", raising=False)


def request(tmp_path: Path, **more: object) -> Request:
    return Request(**{"name": "lenet5", "weights": "random", "out": tmp_path / "out" / "m.onnx", **more})  # type: ignore[arg-type]


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").glob("**/*")) if (tmp_path / "out").exists() else []


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="did you mean 'resnet18'"):
        export(request(tmp_path, name="resnet19"))
    assert left(tmp_path) == []


def test_without_a_network_it_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth.*PIXELMILL_OFFLINE.*place it in"):
        export(request(tmp_path, name="resnet18", weights="official"))
    assert left(tmp_path) == []


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(3)}, other)

    with pytest.raises(WeightsError, match=r"missing \(c1\.weight.*unexpected \(conv\.weight\)"):
        export(request(tmp_path, weights=str(other)))
    assert left(tmp_path) == []


def test_int8_needs_photographs(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="--calibrate FOLDER with at least 24"):
        export(request(tmp_path, precision="int8"))


def test_an_empty_calibration_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()

    with pytest.raises(ParameterError, match="none holds no pictures"):
        export(request(tmp_path, precision="int8", calibrate=tmp_path / "none"))


def test_too_few_readable_pictures_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    cv2.imwrite(str(folder / "good.png"), np.zeros((40, 40, 3), np.uint8))
    (folder / "bad.jpg").write_bytes(b"no picture")

    with pytest.raises(ParameterError, match=r"holds 1 pictures to calibrate on, 1 more can't be read: int8 needs 24"):
        export(request(tmp_path, precision="int8", calibrate=folder))


def test_a_verification_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "bad.jpg").write_bytes(b"no picture")

    with pytest.raises(ParameterError, match="holds no picture that can be read"):
        export(request(tmp_path, verify=folder))


def test_an_unwritable_target_is_refused_before_the_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(the_export, "build", lambda *_, **__: pytest.fail("the work had begun"))

    with pytest.raises(ParameterError, match="can't be written"):
        export(request(tmp_path, out=tmp_path / "file" / "m.onnx"))
    with pytest.raises(ParameterError, match=r"must end in \.onnx"):
        export(request(tmp_path, out=tmp_path / "m.bin"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dynamic": True}, "sees one size of picture, 32×32"),
        ({"size": (64, 64)}, "works at 32×32 pixels only"),
        ({"name": "fasterrcnn-resnet50-fpn", "dynamic": False}, "takes pictures of any size as they are"),
        ({"name": "yolo26n", "size": (320, 320)}, "picks its 300 best boxes inside"),
        ({"calibrate": Path()}, "--calibrate belongs to --precision int8"),
        ({"name": "dcgan-generator", "precision": "int8"}, "makes pictures from noise"),
    ],
)
def test_options_that_do_not_suit_a_network_are_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=said):
        export(request(tmp_path, **options))
    assert left(tmp_path) == []


def failing(*_: object, **__: object) -> Report:
    return Report("labels", "fp32", "nowhere", {"pictures": 1}, ("top1_agreement is 0",), {})


def test_an_export_that_does_not_agree_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_export, "check", failing)

    with pytest.raises(ParityError, match=r"was not written: top1_agreement is 0.*--force"):
        export(request(tmp_path))
    assert left(tmp_path) == []


def test_force_keeps_it_and_the_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_export, "check", failing)

    outcome = export(request(tmp_path, force=True))

    card = read_card(outcome.path)
    assert card.parity["forced"] is True
    assert card.parity["passed"] is False
    assert any("--force although it failed" in note for note in card.notes)


def test_ctrl_c_leaves_what_was_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out" / "m.onnx"
    target.parent.mkdir()
    target.write_bytes(b"what was there")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(the_export, "check", interrupted)

    with pytest.raises(KeyboardInterrupt):
        export(request(tmp_path))
    assert left(tmp_path) == ["m.onnx"]
    assert target.read_bytes() == b"what was there"


def test_help_shows_how_to_export_three_networks() -> None:
    said = CliRunner().invoke(command, ["--help"]).output

    assert said.count("pixelmill export") >= 4
    for option in ("--weights", "--precision", "--imgsz", "--static", "--calibrate", "--verify", "--max-drop", "--out"):
        assert option in said
