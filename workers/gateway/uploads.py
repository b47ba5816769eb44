"""Taking uploads in: bounded, streamed to disk, under names that can't lead anywhere."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from asyncio import timeout
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway.problems import Problem

_UNSAFE = re.compile(r"[^\w.\- ()]+")
_LONGEST = 120  # bytes of a name; there must be room for a mark and a suffix in 255
_COPIED = 1 << 20
_DRAINED = 16 * 2**20  # bytes of a refused body that are read on: a client that is cut off never sees the answer


class BodyLimit:
    """Middleware that ends a request whose body is larger than allowed, too slow, or packed."""

    def __init__(self, app: ASGIApp, most: int, idle: float) -> None:
        """Wrap an application. most: bytes. idle: seconds without any."""
        self._app, self._most, self._idle = app, most, idle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            await _drain(receive)
            await self._packed().response()(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            await _drain(receive)
            await self._too_large().response()(scope, receive, send)
            return
        seen, more = 0, True

        async def counted() -> Message:
            nonlocal seen, more
            try:
                async with timeout(self._idle if more else None):  # behind the body comes only the client's leaving
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self._most:
                await _drain(receive)
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _packed(self) -> Problem:
        detail = "a packed body may be a thousand times larger than it says: send it as it is, without Content-Encoding"
        return Problem(415, "unsupported_encoding", detail, {"Accept-Encoding": "identity", "Connection": "close"})

    def _too_slow(self) -> Problem:
        return Problem(
            408, "too_slow", f"no byte came for {self._idle:g} s: send the request again", {"Connection": "close"}
        )

    def _too_large(self) -> Problem:
        return Problem(
            413, "body_too_large", f"a request has at most {self._most:,} bytes: send fewer pictures at once",
            {"Connection": "close"},
        )  # fmt: skip


async def _drain(receive: Receive) -> None:
    left, more = _DRAINED, True
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message.get("more_body", False)


@asynccontextmanager
async def read_form(request: Request, max_files: int) -> AsyncIterator[FormData]:
    """Read a multipart form; files beyond a megabyte lie on disk while they come, and are gone with the context.

    Raises Problem: 415 for another kind of body, 413 for too many files, 400 for one that is cut off or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", f"send multipart/form-data or application/json, not {kind!r}")
    try:
        form = await request.form(max_files=max_files, max_fields=50, max_part_size=256 * 1024)
    except ClientDisconnect:
        raise Problem(400, "cut_off", "the request ended before it was whole") from None
    except HTTPException as error:
        if "Too many files" in str(error.detail):
            raise Problem(413, "too_many_files", f"a request has at most {max_files:,} files") from error
        raise Problem(400, "bad_form", f"the form can't be read: {error.detail}") from error
    try:
        yield form
    finally:
        await form.close()


def store(files: Sequence[UploadFile], folder: Path, most: int) -> tuple[str, ...]:
    """Put uploads into a folder under safe names, in their order; gives the names.

    most: bytes of one. Raises Problem 413 for a larger one, OSError if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = safe_names(file.filename or "" for file in files)
    for file, name in zip(files, names, strict=True):
        if (file.size or 0) > most:
            raise Problem(413, "file_too_large", f"{name} has {file.size:,} bytes, at most {most:,} are taken")
        with (folder / name).open("xb") as target:
            shutil.copyfileobj(file.file, target, _COPIED)
    return tuple(names)


def safe_names(given: Iterable[str]) -> list[str]:
    """Names that are no paths, hide nothing, and are each there once, like those given as far as that goes.

    Compared without case, as some file systems do.
    """
    taken: set[str] = set()
    names = []
    for name in given:
        plain = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])
        stem, suffix = os.path.splitext(_UNSAFE.sub("_", plain.encode("utf-8", "replace").decode()).strip(" ."))  # noqa: PTH122
        suffix = suffix if len(suffix) <= 10 else ""
        stem = stem.encode()[:_LONGEST].decode("utf-8", "ignore").strip(" .") or "picture"
        free, count = f"{stem}{suffix}", 1
        while free.casefold() in taken:
            count += 1
            free = f"{stem} ({count}){suffix}"
        taken.add(free.casefold())
        names.append(free)
    return names
