"""The folders a service may touch: everything else is refused, symbolic links resolved first."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.catalog import model_folders
from workers.errors import OutputError, SourceError
from workers.jobs import JobSpec


def inside(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether a path leads below one of these folders, which are resolved."""
    try:
        resolved = Path(os.path.realpath(path))  # Path.resolve raises for a link that leads back to itself
    except ValueError:  # a name no file can have
        return False
    return any(resolved.is_relative_to(root) for root in roots)


def refuse_outside(spec: JobSpec, roots: tuple[Path, ...]) -> None:
    """Raise OutputError if a job's folders or its model lie outside; a model known by name may lie where it does."""
    for what, folder in (("output folder", spec.output), ("input folder", spec.root), ("model file", spec.model)):
        if not inside(Path(folder), roots) and not (what == "model file" and _is_known_model(folder)):
            raise OutputError(
                f"{what} {folder} lies outside the folders the worker may touch ({_listed(roots)}): set "
                "PIXELMILL_ROOTS or `pixelmill worker --root`"
            )


def refuse_image_outside(path: Path, roots: tuple[Path, ...]) -> None:
    """Raise SourceError if an image lies outside, whatever its name says."""
    if not inside(path, roots):
        where = os.path.realpath(path)
        leads = "" if where == str(path) else f" (it leads to {where})"
        raise SourceError(f"image {path}{leads} lies outside the folders the service may read: {_listed(roots)}")


def _listed(roots: tuple[Path, ...]) -> str:
    return ", ".join(map(str, roots))


def _is_known_model(path: str) -> bool:
    return any(Path(path).resolve().parent == folder.resolve() for folder in model_folders())
