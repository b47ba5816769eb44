"""Errors as problem documents (RFC 9457): a status, a stable code, a sentence a user can act on."""

from __future__ import annotations

import errno
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from pipelines.errors import ImageError, ModelError, ParameterError, PixelmillError, ProviderError
from workers.errors import (
    AddressError,
    BrokerError,
    OutputError,
    QueueFullError,
    SourceError,
    UnknownJobError,
    WaitTimeoutError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what every route may answer, for the OpenAPI document
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "a problem document (RFC 9457)", "content": {MEDIA_TYPE: {}}},
    "5XX": {"description": "a problem document (RFC 9457)", "content": {MEDIA_TYPE: {}}},
}

# Status and code of each error of the product, the narrower class first.
_OF_ERRORS: tuple[tuple[type[PixelmillError], int, str], ...] = (
    (UnknownJobError, 404, "unknown_job"),
    (QueueFullError, 503, "queue_full"),
    (WaitTimeoutError, 504, "deadline_exceeded"),
    (BrokerError, 503, "broker_away"),
    (AddressError, 422, "bad_address"),
    (SourceError, 422, "bad_input"),
    (OutputError, 507, "output_failed"),
    (ParameterError, 422, "bad_parameter"),
    (ProviderError, 503, "provider_away"),
    (ModelError, 422, "bad_model"),
)


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is an error. code: a stable word for programs. headers: of the response."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}

    def response(self, **more: Any) -> Response:
        """The problem document. more: further members of it."""
        body = {
            "type": f"urn:pixelmill:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **more,
        }
        return JSONResponse(body, self.status, self.headers, MEDIA_TYPE)


def busy(code: str, detail: str) -> Problem:
    """Too much to do, or nobody to do it: the client may ask again in a moment."""
    return Problem(503, code, detail, {"Retry-After": str(RETRY_SECONDS)})


_BROKEN = Problem(500, "internal_error", "something went wrong here; the gateway's log says what")


def problem_of(error: PixelmillError) -> Problem:
    """The problem that an error of the product is."""
    if isinstance(error, ImageError):
        return Problem(422, error.code, str(error))
    for kind, status, code in _OF_ERRORS:
        if isinstance(error, kind):
            return busy(code, str(error)) if status == 503 else Problem(status, code, str(error))
    return Problem(422, "cannot_run", str(error))


def add_handlers(app: FastAPI) -> None:
    """Make every error of an application a problem document; none shows what is inside."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(PixelmillError)
    async def _ours(_: Request, error: PixelmillError) -> Response:
        return problem_of(error).response()

    @app.exception_handler(OSError)
    async def _disk(request: Request, error: OSError) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        if error.errno in _NO_ROOM:
            return Problem(
                507, "output_failed", "the gateway has no room for this: its operator must make some"
            ).response()
        return _BROKEN.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        found = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
        detail = "; ".join(f"{one['where']}: {one['what']}" for one in found[:5])
        return Problem(422, "bad_request", detail or "the request is not valid").response(errors=found[:20])

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}.get(error.status_code, "http_error")
        return Problem(error.status_code, code, str(error.detail), dict(error.headers or {})).response()

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _BROKEN.response()
