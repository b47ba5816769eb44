"""What a gateway's client sends: JSON for what the service can reach, else a form whose files are read on the way."""

from __future__ import annotations

import json
import mimetypes
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import ParameterError
from workers.errors import SourceError
from workers.folder import Source
from workers.inputs import Input, is_uri, paths_of
from workers.seeds import Seeds

_CHUNK = 1 << 18


class Form:
    """A multipart form (RFC 7578). Fields, and pictures as files or bytes; iterable, as http.client wants a body."""

    def __init__(self, fields: Mapping[str, str], pictures: Sequence[bytes | Path]) -> None:
        """Take what to send; nothing is read yet. Raises SourceError without a picture, or if one is not there."""
        if not pictures:
            raise SourceError("there are no inputs: give files, or the bytes of pictures")
        boundary = secrets.token_hex(16)
        self._parts: list[tuple[bytes, bytes | Path]] = []
        for name, value in fields.items():
            self._parts.append((_head(boundary, f'name="{name}"'), value.encode()))
        for number, one in enumerate(pictures):
            name = f"picture-{number}" if isinstance(one, bytes) else one.name
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._parts.append((_head(boundary, f'name="files"; filename="{_quoted(name)}"', kind), one))
        self._end = f"--{boundary}--\r\n".encode()
        size = len(self._end) + sum(len(head) + _size(data) + 2 for head, data in self._parts)
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}

    def __iter__(self) -> Iterator[bytes]:
        """Give the form in pieces."""
        for head, data in self._parts:
            yield head
            if isinstance(data, bytes):
                yield data
            else:
                with data.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        yield chunk
            yield b"\r\n"
        yield self._end


def in_words(inputs: Input | Sequence[Input] | Source, references: bool) -> dict[str, Any] | None:
    """The part of a request that says what a job is on, where nothing is uploaded; else None.

    references: inputs are paths as the gateway sees them. Raises ParameterError for seeds that are not in a row,
    SourceError for a mixture.
    """
    if isinstance(inputs, Seeds):
        count = len(inputs.numbers)
        first = inputs.numbers[0] if count else 0
        if list(inputs.numbers) != list(range(first, first + count)):
            raise ParameterError("a gateway takes seeds in a row: workers.seeds.seeds(count, seed)")
        return {"count": count, "seed": first}
    if isinstance(inputs, Source):
        return {"inputs": [str(inputs.root / found.name) for found in inputs.scan()]} if references else None
    given = [inputs] if isinstance(inputs, str | Path | bytes) else list(inputs)
    uris = [one for one in given if is_uri(one)]
    if uris and len(uris) < len(given) and not references:
        raise SourceError("some inputs are URIs and some are not: submit them as two jobs")
    if references and any(isinstance(one, bytes) for one in given):
        raise SourceError("bytes are no reference: leave out references=True")
    return {"inputs": [str(one) for one in given]} if references or uris else None


def files_of(inputs: Input | Sequence[Input] | Source) -> list[bytes | Path]:
    """The files and bytes to upload; folders, globs and list files are looked through here. Raises SourceError."""
    if isinstance(inputs, Source):
        return [inputs.root / found.name for found in inputs.scan()]
    given = [inputs] if isinstance(inputs, str | Path | bytes) else inputs
    found: list[bytes | Path] = []
    for one in given:
        found += [one] if isinstance(one, bytes) else map(Path, paths_of(str(one)))
    return found


def as_fields(asked: Mapping[str, Any]) -> dict[str, str]:
    """A request's words as the fields of a form."""
    written: dict[str, Callable[[Any], str]] = {
        "params": json.dumps,
        "formats": ",".join,
        "overlays": lambda yes: "true" if yes else "false",
    }
    return {name: written.get(name, str)(value) for name, value in asked.items()}


def _head(boundary: str, disposition: str, kind: str | None = None) -> bytes:
    told = f"Content-Type: {kind}\r\n" if kind else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{told}\r\n".encode("utf-8", "replace")


def _quoted(name: str) -> str:
    """A name within quotes, as browsers write it (HTML's "multipart/form-data encoding algorithm")."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _size(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    try:
        with data.open("rb"):  # a folder, or what may not be read, is found before half of it is sent
            return data.stat().st_size
    except OSError as error:
        raise SourceError(f"{data} can't be read: {error.strerror or error}") from error
