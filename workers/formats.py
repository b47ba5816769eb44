"""What results can be written as, besides `results.jsonl`: which format can express what, and writing it.

A format is a file or a folder below the output folder, made from `results.jsonl` alone when the job closes. It holds no
result of its own: it may be removed, and is written anew by the same command.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.card import read_card
from pipelines.errors import ParameterError
from pipelines.formats.kinds import KIND_OF, SAID, Kind
from workers.artefacts import MASKS, OVERLAYS
from workers.atomic import write_atomically
from workers.atomic_folder import remove, replace_folder
from workers.errors import OutputError
from workers.jobs import JobSpec
from workers.journal import RESULTS, Line, read_lines

log = logging.getLogger(__name__)

_OBJECTS: tuple[Kind, ...] = ("detections", "instances")


@dataclass(frozen=True, slots=True)
class Format:
    """A format by name.

    place: its file or folder below the output folder. kinds: what it can express.
    """

    name: str
    place: str
    kinds: tuple[Kind, ...]


# Always written, whatever is asked for.
JSONL = Format("jsonl", RESULTS, tuple(SAID))
FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("coco", "coco.json", _OBJECTS),
        Format("coco-polygons", "coco-polygons.json", ("instances",)),
        Format("yolo", "yolo", _OBJECTS),
        Format("voc", "voc", _OBJECTS),
        Format("labelme", "labelme", _OBJECTS),
        Format("masks", MASKS, ("instances", "segments")),
        Format("csv", "results.csv", tuple(SAID)),
        Format("parquet", "results.parquet", tuple(SAID)),
    )
}
NAMES = (JSONL.name, *FORMATS, OVERLAYS)

_USUAL: dict[Kind, tuple[str, ...]] = {"detections": ("coco",), "instances": ("coco",)}
_NO_PYARROW = "the format parquet needs pyarrow: pip install 'pixelmill[formats]', or choose csv"


class Stopped(Exception):  # noqa: N818 - no error: somebody wished it
    """Writing was to end before it was done; nothing of the format it was at has changed."""


def choose_formats(pipeline: str, asked: Iterable[str]) -> tuple[str, ...]:
    """Check the formats a user asks for, each text one name or several with commas between.

    Returns their names, each once, in the order of `FORMATS`, without `jsonl` and `overlays`, which don't wait for the
    job to close.
    Raises ParameterError for a name there is not, for one that can't express what the pipeline gives, and for one whose
    library is not installed.
    """
    names = _split(asked)
    for name in sorted(names - set(NAMES)):
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ParameterError(f"there is no format {name!r}: {hint}There are {', '.join(NAMES)}")
    kind = KIND_OF.get(pipeline)
    able = [JSONL.name, *(one.name for one in FORMATS.values() if kind in one.kinds)]
    chosen = tuple(name for name in FORMATS if name in names)
    for name in chosen:
        if name not in able:
            gives = SAID[kind] if kind is not None else "results of its own"
            raise ParameterError(f"{name} can't express what {pipeline} gives, {gives}: choose from {', '.join(able)}")
    if "parquet" in chosen and find_spec("pyarrow") is None:
        raise ParameterError(_NO_PYARROW)
    return chosen


def asks_for_overlays(asked: Iterable[str]) -> bool:
    """Whether `overlays` is among the formats a user asks for."""
    return OVERLAYS in _split(asked)


def usual_formats(pipeline: str) -> tuple[str, ...]:
    """The formats a pipeline writes unless told otherwise."""
    kind = KIND_OF.get(pipeline)
    return _USUAL.get(kind, ()) if kind is not None else ()


def formats_of(spec: JobSpec) -> tuple[str, ...]:
    """The formats a job writes when it closes."""
    return usual_formats(spec.pipeline) if spec.formats is None else spec.formats


def settle_formats(spec: JobSpec, note: Mapping[str, Any] | None, *, same_job: bool) -> JobSpec:
    """Decide which formats a job writes into a folder that an earlier one may have written into.

    note: what that one noted there. same_job: whether its results can stand beside this one's.

    A format that was written there once is kept up to date, else it would contradict the results beside it. Without a
    wish, what was written before is written again. Raises OutputError where something else is in a format's place.
    """
    noted = _noted(note)
    before = noted if same_job else None
    asked = spec.formats if spec.formats is not None else usual_formats(spec.pipeline) if before is None else ()
    chosen = tuple(name for name in FORMATS if name in asked or name in (before or ()))
    ours = {"coco", *(noted or ())}  # coco.json was written before formats were noted
    if KIND_OF.get(((note or {}).get("spec") or {}).get("pipeline", "")) == "segments":
        ours.add("masks")
    for name, place in places(spec.model_copy(update={"formats": chosen})).items():
        if name not in ours and os.path.lexists(place):
            raise OutputError(
                f"{place} is not from pixelmill, and the format {name} would replace it: move it away or choose "
                "another --out"
            )
    return spec.model_copy(update={"formats": chosen})


def places(spec: JobSpec) -> dict[str, Path]:
    """Where each format of a job is."""
    output, segments = Path(spec.output), KIND_OF.get(spec.pipeline) == "segments"
    # the masks of a segmentation are its results, written with each image; the format adds what their values mean
    return {
        name: output / (f"{MASKS}/classes.csv" if name == "masks" and segments else FORMATS[name].place)
        for name in formats_of(spec)
    }


def missing_formats(spec: JobSpec) -> tuple[str, ...]:
    """The formats of a job whose file or folder is not there."""
    return tuple(name for name, place in places(spec).items() if not place.exists())


def remove_formats(output: Path, note: Mapping[str, Any] | None) -> None:
    """Remove the formats of a job whose results are no longer wanted. note: what it noted. Raises OSError."""
    for name in _noted(note) or ():
        remove(output / FORMATS[name].place)


def write_format(name: str, spec: JobSpec, stop: Callable[[], bool]) -> None:
    """Write one of a job's formats from its `results.jsonl`, whole or not at all, in memory that does not grow.

    stop: looked at before every image; True ends the work.
    Raises Stopped then, OSError if it can't be written, ValueError for results that don't fit the model, ParameterError
    if a library is missing.
    """
    place = places(spec)[name]
    names = read_card(Path(spec.model)).names
    lines = _until(stop, Path(spec.output) / RESULTS)
    if place.suffix:
        place.parent.mkdir(exist_ok=True)
        with write_atomically(place) as file:
            _write_file(name, spec, names, lines, file)
    else:
        with replace_folder(place) as folder:
            _write_folder(name, spec, names, lines, folder)


def _write_file(name: str, spec: JobSpec, names: tuple[str, ...], lines: Iterator[Line], file: BinaryIO) -> None:
    from pipelines.formats.coco import write_coco
    from pipelines.formats.png import class_table
    from pipelines.formats.table import write_csv, write_parquet

    match name:
        case "coco" | "coco-polygons":
            write_coco(lines, names, file, Path(spec.output), outlines=name == "coco-polygons")
        case "masks":
            file.write(class_table(names))
        case "csv":
            write_csv(lines, KIND_OF[spec.pipeline], file)
        case "parquet":
            try:
                write_parquet(lines, KIND_OF[spec.pipeline], file)
            except ImportError as error:
                raise ParameterError(f"{_NO_PYARROW}, on the worker") from error


def _write_folder(name: str, spec: JobSpec, names: tuple[str, ...], lines: Iterator[Line], folder: Path) -> None:
    from pipelines.formats.labelme import write_labelme
    from pipelines.formats.png import write_masks
    from pipelines.formats.voc import write_voc
    from pipelines.formats.yolo import write_yolo

    root, linked = Path(spec.root), True
    match name:
        case "yolo":
            linked = write_yolo(lines, names, folder, root)
        case "voc":
            linked = write_voc(lines, names, folder, root)
        case "labelme":
            linked = write_labelme(lines, names, folder, root)
        case "masks":
            write_masks(lines, names, folder)
    if not linked:
        log.warning("not all pictures of job %s could be linked into its %s folder: copy them", spec.job, name)


def _split(asked: Iterable[str]) -> set[str]:
    return {name.strip() for text in asked for name in text.split(",") if name.strip()}


def _until(stop: Callable[[], bool], results: Path) -> Iterator[Line]:
    for line in read_lines(results):
        if stop():
            raise Stopped
        yield line


def _noted(note: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The formats that a job has noted; None if it knew nothing of formats, or there was none."""
    spec = (note or {}).get("spec")
    formats = spec.get("formats") if isinstance(spec, dict) else None
    return tuple(name for name in formats if name in FORMATS) if isinstance(formats, list) else None
