"""Checkpoints are read safely, and one of another network is refused key by key."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from exports.errors import WeightsError  # noqa: E402
from exports.statedict import fill, in_order, load_state_dict  # noqa: E402

pytestmark = pytest.mark.torch


class Payload:
    """A pickle that would run code while it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_state_dict_is_found_inside_a_training_checkpoint(tmp_path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    state = network().state_dict()
    torch.save(wrap(state), tmp_path / "net.pth")

    loaded = load_state_dict(tmp_path / "net.pth")

    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_safetensors_in_half_precision_come_back_as_float32(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3, dtype=torch.float16)}, str(tmp_path / "net.safetensors"))

    loaded = load_state_dict(tmp_path / "net.safetensors")

    assert loaded["a"].dtype == torch.float32


def test_a_pickle_of_objects_is_refused_with_the_reason_and_never_run(tmp_path: Path) -> None:
    torch.save({"model": Payload(tmp_path / "ran")}, tmp_path / "net.pt")

    with pytest.raises(WeightsError, match=r"net\.pt holds whole Python objects.*run any code.*--trust"):
        load_state_dict(tmp_path / "net.pt")

    assert not (tmp_path / "ran").exists()


def test_an_ultralytics_checkpoint_opens_when_trusted(tmp_path: Path) -> None:
    from exports.libraries import library

    model = library("ultralytics.nn.tasks").DetectionModel("yolo11n.yaml", verbose=False)
    torch.save({"model": model.half(), "ema": None, "epoch": 1}, tmp_path / "yolo11n.pt")

    with pytest.raises(WeightsError, match="--trust"):
        load_state_dict(tmp_path / "yolo11n.pt")
    loaded = load_state_dict(tmp_path / "yolo11n.pt", trust=True)

    assert loaded["model.0.conv.weight"].shape == (16, 3, 3, 3)
    assert loaded["model.0.conv.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pth", b"not weights at all"),
        ("empty.pth", b""),
        ("plain.pth", pickle.dumps({"a": 1})),
        ("text.safetensors", b"not weights at all"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(WeightsError, match=name):
        load_state_dict(tmp_path / name)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    whole = (tmp_path / "net.pth").read_bytes()
    (tmp_path / "net.pth").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(WeightsError, match=r"net\.pth"):
        load_state_dict(tmp_path / "net.pth")


def test_a_state_dict_of_another_network_says_which_keys(tmp_path: Path) -> None:
    state = network().state_dict()
    state["0.weight"] = torch.zeros(8, 3, 5, 5)
    state["fc.weight"] = state.pop("1.running_var")

    with pytest.raises(WeightsError) as caught:
        fill(network(), state)

    said = str(caught.value)
    assert "1 missing (1.running_var)" in said
    assert "1 unexpected (fc.weight)" in said
    assert "0.weight is (8, 3, 5, 5), the network needs (4, 3, 3, 3)" in said


def test_old_checkpoints_without_batch_counters_fit() -> None:
    target = network()
    state = {k: t + 1 for k, t in network().state_dict().items() if not k.endswith("num_batches_tracked")}

    fill(target, state)

    assert torch.equal(target.state_dict()["1.running_mean"], torch.ones(4))


def test_tensors_under_other_names_are_matched_in_order_and_by_shape() -> None:
    renamed = {f"layer.{i}": t for i, t in enumerate(network().state_dict().values())}
    del renamed["layer.6"]  # the counter

    matched = in_order(renamed, network())

    assert list(matched) == [k for k in network().state_dict() if not k.endswith("num_batches_tracked")]
    with pytest.raises(WeightsError, match="holds 5 tensors"):
        in_order(dict(list(renamed.items())[:5]), network())
    with pytest.raises(WeightsError, match=r"'layer.0' of the file"):
        in_order({**renamed, "layer.0": torch.zeros(1)}, network())


def test_an_exported_file_gives_its_weights_back_under_the_networks_names() -> None:
    from exports.networks.lenet5 import lenet5
    from pipelines.catalog import SHIPPED

    state = load_state_dict(SHIPPED / "lenet5.onnx")

    fill(lenet5(), state)
    assert state["output.bias"].shape == (10,)


def test_an_onnx_file_without_a_networks_names_is_refused() -> None:
    from pipelines.catalog import SHIPPED

    with pytest.raises(WeightsError, match=r"selfie\.onnx holds no weights under the names of a network"):
        load_state_dict(SHIPPED / "selfie.onnx")
