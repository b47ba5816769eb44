"""Nobody's pictures, models or machines are reported to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def loads_a_model(temporary: Path, **variables: str) -> list[str]:
    """Load a model in a fresh process; give the files that ONNX Runtime's telemetry leaves (its session's id)."""
    unset = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    code = "import pipelines; pipelines.load('efficientnet-lite0')"
    env = {**clean, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), **variables}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
    return sorted(path.name for path in temporary.iterdir())


def test_onnx_runtime_keeps_what_it_sees_to_itself(tmp_path: Path) -> None:
    assert loads_a_model(tmp_path) == []
