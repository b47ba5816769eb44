"""Files of a job as responses: its results in a format of the product, and its pictures."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from pipelines.errors import ParameterError
from workers.artefacts import PICTURES, artefact_name, mask_name, overlay_name
from workers.formats import choose_formats, places, settle_formats, write_format
from workers.gateway.problems import Problem
from workers.jobs import JobSpec
from workers.journal import RESULTS
from workers.lines import JsonDict
from workers.output import claim_output, remembered
from workers.resume import note_closed

Kind: TypeAlias = Literal["shown", "overlay", "original", "mask", "picture", "thumbnail"]

_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
_PATIENCE = 10.0
_WIDEST = 1024


def as_format(output: Path, name: str, job: str) -> Response:
    """A finished job's results as one of the product's formats; a folder comes as a zip.

    Written now if the job has not written it. Raises Problem or ParameterError.
    """
    note = remembered(output) or {}
    if name == "jsonl":
        return _download(output / RESULTS, f"{job}.jsonl")
    if not note.get("spec"):
        raise Problem(409, "no_results", f"job {job} left no results")
    spec = JobSpec.model_validate(note["spec"])
    chosen = choose_formats(spec.pipeline, [name])
    if not chosen:
        raise ParameterError(f"{name} is no file of results: choose another format")
    with claim_output(output, _PATIENCE):
        wanted = spec.model_copy(update={"formats": chosen})
        place = places(wanted)[name]
        if not place.exists():
            note_closed(settle_formats(wanted, note, same_job=True))
            write_format(name, wanted, lambda: False)
        if place.is_dir():
            return _zipped(place, f"{job}-{name}.zip")
    return _download(place, f"{job}-{place.name}")


def picture(output: Path, root: Path, line: JsonDict, kind: Kind, size: int) -> Response:
    """A picture of one image. kind "shown": what shows the result best. size: longest side of a thumbnail in pixels.

    Raises Problem 404 if there is no such picture.
    """
    from workers.thumbnails import jpeg, shown_path, thumbnail

    image = str(line["image"])
    if kind == "thumbnail":
        side = min(size, _WIDEST)
        # what is written on an overlay can't be read when that is scaled down: the original is drawn on anew
        small = thumbnail(output, root, {**line, "overlay": None}, side, side)
        if small is None:
            small = thumbnail(output, root, line, side, side)
        if small is None:
            raise _no_picture(image, kind)
        return Response(jpeg(small), media_type="image/jpeg", headers={**_SAFE, "Cache-Control": "private, max-age=60"})
    paths: dict[Kind, list[Path | None]] = {
        "shown": [shown_path(output, line), root / image],
        "overlay": [output / overlay_name(image)],
        "original": [root / image],
        "mask": [output / mask_name(image)],
        "picture": [output / artefact_name(PICTURES, image, ending) for ending in ("jpg", "png")],
    }
    for path in paths[kind]:
        if path is not None and path.is_file():
            known = _TYPES.get(path.suffix.lower())
            headers = dict(_SAFE) if known else {**_SAFE, "Content-Disposition": "attachment"}
            return FileResponse(path, media_type=known or "application/octet-stream", headers=headers)
    raise _no_picture(image, kind)


def _no_picture(image: str, kind: str) -> Problem:
    return Problem(404, "no_picture", f"there is no {kind} of {image} (yet)")


def _download(path: Path, name: str) -> Response:
    if not path.is_file():
        raise Problem(404, "no_results", f"{path.name} is not there")
    return FileResponse(path, filename=name)


def _zipped(folder: Path, name: str) -> Response:
    """A folder as a zip; links are followed no further than to files, so pictures a format links to are in it."""
    with tempfile.NamedTemporaryFile(prefix="pixelmill-", suffix=".zip", delete=False) as file:
        made = Path(file.name)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
    return FileResponse(made, filename=name, background=BackgroundTask(_remove, made))


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
