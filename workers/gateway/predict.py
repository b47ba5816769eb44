"""`/v1/predict/{pipeline}`: one picture, its result in the same response."""

from __future__ import annotations

import json
from asyncio import create_task, timeout
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Event
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from pipelines.errors import ParameterError
from workers.gateway.asked import check_harmless
from workers.gateway.desk import AtDesk, Submitter
from workers.gateway.problems import Problem
from workers.gateway.uploads import read_form
from workers.picture import LARGEST_UPLOAD

router = APIRouter(prefix="/v1", tags=["predict"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


@router.post("/predict/{pipeline}", openapi_extra=_BODY)
async def predict(
    pipeline: str,
    request: Request,
    desk: AtDesk,
    caller: Submitter,
    model: Annotated[str | None, Query(max_length=200)] = None,
    params: Annotated[str, Query(max_length=20_000, description="a JSON object")] = "{}",
    deadline: Annotated[float, Query(gt=0, description="seconds to wait")] = 30.0,
) -> dict[str, Any]:
    """Take one picture (the request's body, or a part called image) through a pipeline; it goes before every job.

    422 with the product's code for a picture that can't be read, 504 after `deadline`, 503 while too many wait.
    """
    if deadline > desk.config.deadline:
        raise Problem(422, "bad_parameter", f"deadline: at most {desk.config.deadline:g} s, this one {deadline:g}")
    asked = _params(params)
    check_harmless(pipeline, model, asked)
    async with desk.room.place():
        try:
            async with timeout(deadline):
                data = await _picture(request)
        except TimeoutError:
            raise Problem(408, "too_slow", f"the picture was not here within {deadline:g} s") from None
        async with _while_there(request) as is_there:
            line = await desk.room.wait(
                lambda: desk.client.run(pipeline, data, params=asked, model=model, timeout=deadline, wanted=is_there)
            )
    if line["status"] != "ok":
        error = line.get("error") or {}
        raise Problem(422, str(error.get("code", "failed")), str(error.get("message", "no result")))
    line.pop("image", None)
    return line


@asynccontextmanager
async def _while_there(request: Request) -> AsyncIterator[Callable[[], bool]]:
    """Give what says, in any thread, whether the client is still there; to be used once the body is read."""
    left = Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()

    watching = create_task(watch())
    try:
        yield lambda: not left.is_set()
    finally:
        watching.cancel()


async def _picture(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with read_form(request, 1) as form:
            sent = form.get("image")
            if not isinstance(sent, UploadFile):
                raise Problem(422, "no_files", "send the picture as a part called image, or as the body")
            if (sent.size or 0) > LARGEST_UPLOAD:
                raise _too_large()
            data = await sent.read()
    elif kind.startswith("image/") or kind == "application/octet-stream":
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > LARGEST_UPLOAD:
                    raise _too_large()
                parts.append(part)
        except ClientDisconnect:
            raise Problem(400, "cut_off", "the request ended before it was whole") from None
        data = b"".join(parts)
    else:
        raise Problem(415, "unsupported_media_type", f"send image/…, octets or multipart/form-data, not {kind!r}")
    if not data:
        raise Problem(422, "empty_file", "the picture has no bytes")
    return data


def _too_large() -> Problem:
    return Problem(413, "file_too_large", f"a picture here has at most {LARGEST_UPLOAD:,} bytes: submit a job instead")


def _params(text: str) -> dict[str, Any]:
    try:
        params = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"params is no JSON object: {error}") from error
    if not isinstance(params, dict):
        raise ParameterError(f"params is no JSON object, it is a {type(params).__name__}")
    return params
