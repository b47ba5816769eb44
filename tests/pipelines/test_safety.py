"""A model file is untrusted input: hostile ones, built by the onnx package, are refused with the claim that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from pipelines.card import Card, InputSpec, Resize, Weights, with_card  # noqa: E402
from pipelines.catalog import SHIPPED  # noqa: E402
from pipelines.errors import CardError, ModelError  # noqa: E402
from pipelines.safety import MAX_DEPTH, check_model  # noqa: E402
from pipelines.session import Session  # noqa: E402

CARD = Card(
    name="m",
    task="classify",
    family="logits",
    names=("a", "b"),
    input=InputSpec(name="x", height=4, width=4, mean=(0.0,) * 3, std=(1.0,) * 3, resize=Resize(rule="stretch")),
    outputs=("y",),
    weights=Weights(source="s", licence="l"),
    exporter="e",
)


def model(change: Callable[..., None] | None = None, opset: int = 17) -> bytes:
    """(1, 3, 4, 4) → (1, 2): flatten, then a matrix."""
    weights = numpy_helper.from_array(np.ones((48, 2), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"], name="last")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if change:
        change(made)
    return bytes(made.SerializeToString())


def write(tmp_path: Path, content: bytes, card: Card = CARD) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(with_card(content, card))
    return path


def external(location: str) -> Callable[..., None]:
    def change(made: onnx.ModelProto) -> None:
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location

    return change


def test_an_honest_model_loads_and_runs(tmp_path: Path) -> None:
    session = Session(write(tmp_path, model()), "cpu")

    assert session.run(np.ones((1, 3, 4, 4), np.float32))[0].tolist() == [[48.0, 48.0]]


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", "..\\secret", "C:\\secret"])
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    path = write(tmp_path, model(external(location)))

    with pytest.raises(ModelError, match="outside the file's folder") as caught:
        Session(path, "cpu")
    assert repr(location) in str(caught.value)
    assert "'w'" in str(caught.value)


def test_weights_in_a_second_file_are_refused_but_adopt_may_look(tmp_path: Path) -> None:
    path = write(tmp_path, model(external("m.data")))

    with pytest.raises(ModelError, match=r"second file, 'm\.data'.*adopt"):
        check_model(path)
    check_model(path, second_file=True)


def test_external_data_without_its_mark_is_refused_too(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        external("../x")(made)
        made.graph.initializer[0].ClearField("data_location")

    with pytest.raises(ModelError, match="outside"):
        check_model(write(tmp_path, model(change)))


def test_external_data_hidden_in_a_constant_of_a_subgraph_is_found(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        inner = onnx.ModelProto()
        inner.ParseFromString(model(external("../deep")))
        branch = helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=inner.graph.initializer[0])],
            "branch",
            [],
            [helper.make_tensor_value_info("c", TensorProto.FLOAT, [48, 2])],
        )
        made.graph.node.append(helper.make_node("If", ["cond"], ["z"], then_branch=branch, else_branch=branch))

    with pytest.raises(ModelError, match=r"'\.\./deep'"):
        check_model(write(tmp_path, model(change)))


def test_a_custom_operator_is_refused_by_name(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        made.graph.node[1].domain = "evil.corp"
        made.graph.node[1].op_type = "RunShell"

    with pytest.raises(ModelError, match=r"'RunShell' of 'evil\.corp'.*'last'"):
        Session(write(tmp_path, model(change)), "cpu")


def test_a_function_that_the_model_brings_along_is_no_custom_operator(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        twice = helper.make_function(
            "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
        )
        made.functions.append(twice)
        made.opset_import.append(helper.make_opsetid("own", 1))
        made.graph.node[1].output[0] = "half"
        made.graph.node.append(helper.make_node("Twice", ["half"], ["y"], domain="own"))

    session = Session(write(tmp_path, model(change)), "cpu")

    assert session.run(np.ones((1, 3, 4, 4), np.float32))[0].tolist() == [[96.0, 96.0]]


def test_a_custom_operator_inside_a_function_is_found(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        made.functions.append(
            helper.make_function(
                "own",
                "Twice",
                ["a"],
                ["b"],
                [helper.make_node("Shell", ["a"], ["b"], domain="evil")],
                [helper.make_opsetid("", 17)],
            )
        )

    with pytest.raises(ModelError, match="'Shell' of 'evil'"):
        check_model(write(tmp_path, model(change)))


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_an_operator_set_that_is_not_supported_is_named(opset: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"operator set {opset},"):
        check_model(write(tmp_path, model(opset=opset)))


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        made.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]

    with pytest.raises(ModelError, match=f"claims {1 << 40} elements"):
        check_model(write(tmp_path, model(change)))


def test_a_negative_dimension_is_refused(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        made.graph.initializer[0].dims[:] = [-48, 2]

    with pytest.raises(ModelError, match="claims"):
        check_model(write(tmp_path, model(change)))


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    def change(made: onnx.ModelProto) -> None:
        output = [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])]
        branch = helper.make_graph([helper.make_node("Identity", ["x"], ["c"])], "b", [], output)
        for _ in range(MAX_DEPTH + 2):
            node = helper.make_node("If", ["k"], ["c"], then_branch=branch, else_branch=branch)
            branch = helper.make_graph([node], "b", [], output)
            node.attribute.pop()  # one branch is enough, and twice as many each time would be too many
            branch = helper.make_graph([node], "b", [], output)
        made.graph.node.extend(branch.node)

    with pytest.raises(ModelError, match="nested deeper"):
        check_model(write(tmp_path, model(change)))


@pytest.mark.parametrize("keep", [1, 10, 50, 200])
def test_a_truncated_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = write(tmp_path, model())
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ModelError):
        check_model(path)


def test_bytes_turned_at_random_never_raise_anything_else(tmp_path: Path) -> None:
    content = bytearray(with_card(model(), CARD))
    random = np.random.default_rng(7)
    path = tmp_path / "m.onnx"
    for _ in range(300):
        damaged = bytearray(content)
        for at in random.integers(0, len(damaged), 3):
            damaged[at] = int(random.integers(0, 256))
        path.write_bytes(damaged)
        try:
            check_model(path)
        except ModelError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.onnx")), ids=lambda path: path.stem)
def test_what_ships_is_safe(path: Path) -> None:
    check_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ("a", "b", "c")}, "3 class names.*tells 2 classes apart"),
        ({"outputs": ("z",)}, "output 'z'.*outputs 'y'"),
        ({"input": CARD.input.model_copy(update={"name": "image"})}, "input.name 'image'"),
        ({"input": CARD.input.model_copy(update={"height": 5})}, "input shape"),
        ({"input": CARD.input.model_copy(update={"dtype": "uint8"})}, "input.dtype uint8"),
        ({"input": CARD.input.model_copy(update={"batch": None})}, "any batch size|input shape"),
        ({"input": CARD.input.model_copy(update={"layout": "CHW"})}, "input.layout CHW"),
        ({"input": CARD.input.model_copy(update={"dynamic": True})}, "input.dynamic"),
    ],
)
def test_a_claim_of_the_card_that_the_graph_contradicts_is_named(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, model(), CARD.model_copy(update=change))

    with pytest.raises(CardError, match=said):
        Session(path, "cpu")
