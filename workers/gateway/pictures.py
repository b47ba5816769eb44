"""`/v1/jobs/{job}/images/{n}`: what a job made of one picture, and the picture itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from workers.gateway.desk import AtDesk, Reader
from workers.gateway.downloads import Kind, picture
from workers.gateway.problems import Problem
from workers.gateway.records import Record
from workers.journal import Line
from workers.output import remembered
from workers.tail import Tail

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_JOBS = 16  # whose lines are held in memory, the least recently asked for goes first


class Lines:
    """The results of jobs by image, read on as they grow, so that a page of thumbnails reads a file once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._held: OrderedDict[str, tuple[Tail, dict[str, Line]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job: str, output: Path, image: str, *, ended: bool) -> Line | None:
        """The result of an image, None if there is none yet."""
        with self._lock:
            tail, lines = self._held.setdefault(job, (Tail(output, job), {}))
            self._held.move_to_end(job)
            while len(self._held) > _JOBS:
                self._held.popitem(last=False)
            if image not in lines:
                lines.update((str(line["image"]), line) for line in tail.new())
            if image not in lines and ended:
                lines.update((str(line["image"]), line) for line in tail.merged())
            return lines.get(image)


_lines = Lines()


@router.get(
    "/{job}/images/{image:path}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}, "image/*": {}, "application/octet-stream": {}}}},
)
def image(
    job: str,
    image: str,
    desk: AtDesk,
    caller: Reader,
    kind: Annotated[Kind, Query(description="which picture")] = "shown",
    size: Annotated[int, Query(ge=16, le=1024, description="longest side of a thumbnail, in pixels")] = 320,
) -> Response:
    """A picture of an image: by its number among the uploads, or by its name in the results."""
    record = desk.records.find(job, caller)
    status = desk.client.status(job)
    output = Path(status.output)
    name = _name(record, image)
    line = _lines.of(job, output, name, ended=status.has_ended)
    if line is None:
        if kind == "original" and name in record.images:  # there from the start
            line = {"image": name, "status": "waiting"}
        else:
            raise Problem(404, "no_result", f"{name} has no result yet, or is no image of job {job}")
    return picture(output, _root(output, record, desk), line, kind, size)


def _name(record: Record, image: str) -> str:
    if image.isdecimal() and len(image) < 9 and record.images:
        number = int(image)
        if number >= len(record.images):
            raise Problem(404, "no_image", f"job {record.job} has images 0 to {len(record.images) - 1}")
        return record.images[number]
    return image


def _root(output: Path, record: Record, desk: AtDesk) -> Path:
    """The folder the names of a job's images start from."""
    if record.images:
        return desk.records.folder(record.ticket) / "inputs"
    root = ((remembered(output) or {}).get("spec") or {}).get("root")
    return Path(root) if root else output / "no-inputs"  # a job on seeds has none
