"""Finding the code that paints by optimisation. It needs PyTorch, which nothing else in this room or a worker does.

So it lives in `exports`, and this room does not import it: it is found by the entry point that its distribution
declares, and loaded only where a job asks for it. Anybody's package may declare another one under another name.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from pipelines.errors import ParameterError

PIPELINE = "optimise"  # the pipeline that needs it
GROUP, NAME = "pixelmill.optimisers", "gatys"

MISSING = (
    "optimise needs PyTorch and this worker has none: pip install 'pixelmill[export]' here, or set PIXELMILL_BROKER to "
    "a service with a worker that has it; such jobs wait in a queue of their own, which only those workers serve"
)


def can_optimise() -> bool:
    """Whether PyTorch can be imported here; found out without importing it."""
    try:
        return all(find_spec(name) is not None for name in ("torch", "onnx"))
    except (ImportError, ValueError):
        return False


def load_optimiser() -> Any:
    """Import the code; gives the class, which `pipelines.optimise.Painter` describes.

    Raises ParameterError, with what to do, if PyTorch or the code is missing.
    """
    if not can_optimise():
        raise ParameterError(MISSING)
    found = [point for point in entry_points(group=GROUP) if point.name == NAME]
    if not found:
        raise ParameterError(
            f"no installed package has the entry point {NAME!r} of {GROUP}: install Pixelmill again, "
            "pip install 'pixelmill[export]' (in a checkout: pip install -e '.[export]')"
        )
    try:
        return found[0].load()
    except ImportError as error:
        raise ParameterError(f"{MISSING} ({error})") from error
