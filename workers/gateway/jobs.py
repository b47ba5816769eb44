"""`/v1/jobs`: submit, look, read results, cancel, retry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from pipelines.card import first_error
from workers.errors import UnknownJobError
from workers.folder import Source, sort_key
from workers.gateway.asked import Asked, AskedInWords, allowed_references, digest_of, same_again, submit
from workers.gateway.callers import Caller
from workers.gateway.desk import AtDesk, Desk, Reader, Submitter
from workers.gateway.downloads import as_format
from workers.gateway.events import LOOK_SECONDS, public, read_on
from workers.gateway.problems import Problem
from workers.gateway.records import Record
from workers.gateway.uploads import read_form, store
from workers.journal import Line
from workers.tail import Tail

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": AskedInWords.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["pipeline", "files"],
                    "properties": {
                        "pipeline": {"type": "string"},
                        "model": {"type": "string"},
                        "params": {"type": "string", "description": "a JSON object"},
                        "priority": {"enum": ["high", "normal", "bulk"]},
                        "formats": {"type": "string", "description": "names with commas between"},
                        "overlays": {"type": "boolean"},
                        "deadline": {"type": "number", "description": "seconds"},
                        "concurrency": {"type": "integer", "description": "most processes at work on it at once"},
                        "webhook": {"type": "string", "description": "URL told when the job has ended"},
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            },
        },
    }
}


_RESULTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            kind: {}
            for kind in (
                "application/json",
                "application/x-ndjson",
                "application/zip",
                "application/octet-stream",
                "text/csv; charset=utf-8",
                "text/plain; charset=utf-8",
            )
        }
    }
}


@router.post("", status_code=202, openapi_extra=_BODY)
async def create(request: Request, desk: AtDesk, caller: Submitter, key: Key = None) -> Response:
    """Submit a job on uploads (multipart), or on references or seeds (JSON). 202 once the service has all of it."""
    ticket = desk.records.ticket(caller, key)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        record = await run_sync(_in_words, desk, caller, ticket, await request.body())
    else:
        async with read_form(request, desk.config.max_files) as form:
            files = [one for name, one in form.multi_items() if name == "files" and isinstance(one, UploadFile)]
            fields = {name: one for name, one in form.multi_items() if isinstance(one, str)}
            record = await run_sync(_by_upload, desk, caller, ticket, fields, files)
    status = public(await run_sync(desk.client.status, record.job))
    return JSONResponse({**status, "links": _links(record.job)}, 202, {"Location": f"/v1/jobs/{record.job}"})


@router.get("")
def jobs(desk: AtDesk, caller: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
    """Your jobs of the last seven days, the newest first."""
    known = []
    for one in desk.records.all_of(caller, limit):
        with suppress(UnknownJobError):  # the service forgets after a week, the folder does not
            known.append(public(desk.client.status(one.job)))
    return known


@router.get("/{job}")
def job(job: str, desk: AtDesk, caller: Reader) -> dict[str, Any]:
    """How a job is; progress counts images."""
    record = desk.records.find(job, caller)
    return {**public(desk.client.status(record.job)), "images": list(record.images), "links": _links(job)}


@router.get("/{job}/results", response_class=Response, responses=_RESULTS)
def results(
    job: str,
    desk: AtDesk,
    caller: Reader,
    format: Annotated[str, Query(max_length=40, description="json, ndjson, or a format of the product")] = "json",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """A job's results: `json` gives those there are, `ndjson` streams them until the job has ended, else a file."""
    record = desk.records.find(job, caller)
    if format == "ndjson":
        return StreamingResponse(_stream(desk, job), media_type="application/x-ndjson")
    status = desk.client.status(job)
    if format == "json":
        lines_there = list(_page(Path(status.output), job, status.has_ended, offset, limit))
        return JSONResponse({"job": job, "ended": status.has_ended, "offset": offset, "results": lines_there})
    if not status.has_ended:
        raise Problem(409, "job_runs", f"job {job} is {status.state}: {format} can be had when it has ended")
    return as_format(Path(status.output), format, record.job)


@router.get("/{job}/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    job: str,
    desk: AtDesk,
    caller: Reader,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=20)] = None,
) -> Response:
    """Server-sent events: every image, progress, the end."""
    record = await run_sync(desk.records.find, job, caller)
    await run_sync(desk.client.status, job)
    after = int(last) if last and last.isdecimal() else 0

    async def texts() -> AsyncIterator[str]:
        async for text in desk.watchers.events(record, after):
            yield text

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(texts(), media_type="text/event-stream", headers=headers)


@router.delete("/{job}")
def cancel(job: str, desk: AtDesk, caller: Submitter) -> dict[str, Any]:
    """End a job: no further image is begun, finished results stay."""
    desk.records.find(job, caller)
    return public(desk.client.cancel(job))


@router.post("/{job}/retry", status_code=202)
def retry(job: str, desk: AtDesk, caller: Submitter, only_failures: bool = True) -> JSONResponse:
    """Submit a job's failed images (or all) again, as a new job into the same folder."""
    record = desk.records.find(job, caller)
    latest = desk.records.of_ticket(record.ticket)  # it may have been tried again already, in the same folder
    for one in {job, latest.job if latest else job}:
        if not desk.client.status(one).has_ended:
            raise Problem(409, "job_runs", f"job {one} has not ended: wait for it or cancel it")
    again = record.model_copy(update={"job": desk.client.retry(job, only_failures)})
    desk.records.keep(again)
    told = {**public(desk.client.status(again.job)), "links": _links(again.job)}
    return JSONResponse(told, 202, {"Location": f"/v1/jobs/{again.job}"})


def _in_words(desk: Desk, caller: Caller, ticket: str, body: bytes) -> Record:
    try:
        asked = AskedInWords.model_validate_json(body)
    except ValidationError as error:
        raise Problem(422, "bad_request", first_error(error)) from error
    digest, before = digest_of(asked), desk.records.of_ticket(ticket)
    if before is not None:
        return same_again(before, digest)
    inputs = asked.seeds() or allowed_references(desk, asked.inputs)
    with desk.records.held(ticket):
        return submit(desk, caller, asked, ticket, inputs, digest)


def _by_upload(desk: Desk, caller: Caller, ticket: str, fields: dict[str, str], files: list[UploadFile]) -> Record:
    asked = _asked(fields)
    if not files:
        raise Problem(422, "no_files", "a job needs pictures: parts of the form called files")
    digest = digest_of(asked, [(one.filename or "", one.size or 0) for one in files])
    before = desk.records.of_ticket(ticket)
    if before is not None:
        return same_again(before, digest)
    with desk.records.held(ticket) as folder:
        names = store(files, folder / "inputs", desk.config.max_file)
        # named outright: an upload called list.txt is a picture that can't be read, not a list of the server's files
        inputs = Source(folder / "inputs", tuple(sorted(names, key=sort_key)))
        return submit(desk, caller, asked, ticket, inputs, digest, names)


def _asked(fields: dict[str, str]) -> Asked:
    told: dict[str, Any] = dict(fields)
    try:
        if "params" in told:
            told["params"] = json.loads(told["params"])
        if "formats" in told:
            told["formats"] = [name.strip() for name in told["formats"].split(",") if name.strip()] or None
        return Asked.model_validate(told)
    except ValidationError as error:
        raise Problem(422, "bad_request", first_error(error)) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad_request", f"params: no JSON object ({error})") from error


async def _stream(desk: Desk, job: str) -> AsyncIterator[str]:
    """A job's results as they land; waiting takes no thread, of which many readers would leave none."""
    tail: Tail | None = None
    while True:
        status = await run_sync(desk.client.status, job)
        tail = tail or Tail(Path(status.output), job)
        for line in await run_sync(read_on, tail, status.has_ended):
            yield json.dumps(line, ensure_ascii=True) + "\n"
        if status.has_ended:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _page(output: Path, job: str, ended: bool, offset: int, limit: int) -> Iterator[Line]:
    tail = Tail(output, job)
    number = 0
    for lines in (tail.new(), tail.merged() if ended else ()):
        for line in lines:
            if offset <= number < offset + limit:
                yield line
            number += 1
            if number >= offset + limit:
                return


def _links(job: str) -> dict[str, str]:
    here = f"/v1/jobs/{job}"
    return {"self": here, "results": f"{here}/results", "events": f"{here}/events", "images": f"{here}/images/{{n}}"}
