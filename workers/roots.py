"""Which folders a worker may touch: links are resolved first, so that none leads out."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.params import files_named
from workers.errors import OutputError, SourceError
from workers.jobs import JobSpec


def is_inside(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether a path, once its links are resolved, lies below one of the roots."""
    try:
        resolved = Path(os.path.realpath(path))  # Path.resolve raises for a link that leads back to itself
    except ValueError:  # a name no file can have
        return False
    return any(resolved.is_relative_to(root) for root in roots)


def check_roots(spec: JobSpec, roots: tuple[Path, ...]) -> None:
    """Refuse a job whose folders, model or other files lie elsewhere. Raises OutputError."""
    folders = [("output folder", spec.output), ("input folder", spec.root), ("model file", spec.model)]
    folders += [("file", path) for path in files_named(spec.pipeline, spec.params)]
    for what, folder in folders:
        if what == "input folder" and not folder:  # a job that reads no pictures
            continue
        if not is_inside(Path(folder), roots) and not (what == "model file" and _is_known_model(folder)):
            allowed = ", ".join(map(str, roots))
            raise OutputError(
                f"{what} {folder} lies outside the folders the worker may touch ({allowed}): set PIXELMILL_ROOTS or "
                "`pixelmill worker --root`"
            )


def check_image(path: Path, roots: tuple[Path, ...]) -> None:
    """Refuse an image that lies elsewhere, whatever its name says. Raises SourceError."""
    if not is_inside(path, roots):
        where = os.path.realpath(path)
        leads = "" if where == str(path) else f" (it leads to {where})"
        allowed = ", ".join(map(str, roots))
        raise SourceError(f"image {path}{leads} lies outside the folders the service may read: {allowed}")


def _is_known_model(path: str) -> bool:
    from pipelines.catalog import model_folders

    try:
        return any(Path(path).resolve().parent == folder.resolve() for folder in model_folders())
    except (OSError, ValueError, RuntimeError):  # no name a file can have, or a loop of links
        return False
