"""The heavy libraries, imported when they are needed, without noise, and without what they do behind one's back.

Ultralytics installs packages at run time, asks the network whether it is there and prints banners unless told
otherwise; all of that is switched off here, so this is the only place that may import it. `setdefault` leaves a user's
own setting alone, except for the installer, which is never allowed.

Raises MissingLibraryError, one sentence with the remedy, where a library is not installed.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from exports.errors import MissingLibraryError
from pipelines.folders import cache_folder

_INSTALL = "pip install 'pixelmill[export]'"


def library(name: str) -> Any:
    """Import a library of the export extra, e.g. `torch`, `torchvision.models.detection`, `timm`, `onnx`.

    Warnings that third parties raise while they are imported are not ours to show.
    Raises MissingLibraryError if it is not installed.
    """
    root = name.partition(".")[0]
    if root == "ultralytics":
        _silence_ultralytics()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in (root, *_NEEDED_BY.get(root, ())):
            raise
        raise MissingLibraryError(f"this needs {error.name}, which is not installed: {_INSTALL}") from error


_NEEDED_BY = {"torchvision": ("torch",), "timm": ("torch", "torchvision"), "ultralytics": ("torch", "torchvision")}


def torch() -> Any:
    """Import PyTorch."""
    return library("torch")


def _silence_ultralytics() -> None:
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_OFFLINE", "true")  # no DNS look-ups, no usage events
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:  # its settings file belongs to us, not into the user's own Ultralytics
        folder = cache_folder() / "ultralytics"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
