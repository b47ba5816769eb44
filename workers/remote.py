"""The client of a gateway: the verbs of `workers.client.Client`, over HTTP.

    from workers import connect

    client = connect("https://pixelmill.example", token="pixelmill_…")
    job = client.submit("detect", ["street.jpg", Path("square.png")])
    for line in client.results(job):
        print(line["image"], line["status"])

Only the standard library is needed. Pictures are uploaded, each read while it is sent; results come back as they land.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import mimetypes
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from pipelines.errors import ParameterError
from workers.errors import BrokerError, JobError, QueueFullError, SourceError, UnknownJobError, WaitTimeoutError
from workers.inputs import Input
from workers.journal import Line
from workers.queues import Priority
from workers.status import ENDED, Status

_CHUNK = 1 << 18
_POLL_SECONDS = 0.2
_TIMEOUT_S = 60.0
_ERRORS: dict[str, type[JobError]] = {
    "unknown_job": UnknownJobError,
    "queue_full": QueueFullError,
    "deadline_exceeded": WaitTimeoutError,
    "broker_away": BrokerError,
    "bad_input": SourceError,
    "no_files": SourceError,
}


class RemoteClient:
    """A gateway, seen from a program."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take the gateway's address; nothing is sent yet. token: default: PIXELMILL_TOKEN."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(f"{url!r} is no address of a gateway: http(s)://HOST[:PORT]")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._token = token or os.environ.get("PIXELMILL_TOKEN")

    def submit(
        self,
        pipeline: str,
        inputs: Input | Sequence[Input],
        *,
        params: Mapping[str, Any] | None = None,
        model: str | None = None,
        priority: Priority = "normal",
        key: str = "",
        overlays: bool = True,
        formats: Sequence[str] | None = None,
        deadline: float | None = None,
        webhook: str = "",
    ) -> str:
        """Upload pictures as a job and give its id, as `Client.submit` does; the gateway keeps the results.

        inputs: files, or their bytes. key: the same key gives the same job; without one, each call is a new job.
        deadline: seconds from now. webhook: URL that is told when the job has ended.
        """
        given = [inputs] if isinstance(inputs, str | Path | bytes) else list(inputs)
        fields = {"pipeline": pipeline, "params": json.dumps(dict(params or {})), "priority": priority,
                  "overlays": "true" if overlays else "false"}  # fmt: skip
        if model is not None:
            fields["model"] = model
        if formats is not None:
            fields["formats"] = ",".join(formats)
        if deadline is not None:
            fields["deadline"] = str(deadline)
        if webhook:
            fields["webhook"] = webhook
        form = _Form(fields, given)
        headers = {**form.headers, "Idempotency-Key": key or secrets.token_hex(16)}
        return str(self._json("POST", "/v1/jobs", headers, form)["job"])

    def run(
        self,
        pipeline: str,
        image: str | Path | bytes,
        *,
        params: Mapping[str, Any] | None = None,
        model: str | None = None,
        timeout: float = 60.0,
    ) -> Line:
        """Take one picture through a pipeline and wait for its result; a picture that can't be read raises JobError."""
        query = {"params": json.dumps(dict(params or {})), "deadline": timeout, **({"model": model} if model else {})}
        data = image if isinstance(image, bytes) else _read(Path(image))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
        line: Line = self._json(
            "POST", f"/v1/predict/{quote(pipeline)}?{urlencode(query)}", headers, data, timeout + 10
        )
        return line

    def status(self, job: str) -> Status:
        """Say how a job is. Raises UnknownJobError."""
        return _status(self._json("GET", f"/v1/jobs/{quote(job)}"))

    def list(self, limit: int = 50) -> list[Status]:
        """Give your jobs of the last seven days, the newest first."""
        return [_status(one) for one in self._json("GET", f"/v1/jobs?limit={limit}")]

    def service(self) -> dict[str, Any]:
        """Say how the service is."""
        told: dict[str, Any] = self._json("GET", "/v1/service")
        return told

    def wait(self, job: str, progress: Callable[[Status], None] | None = None, timeout: float | None = None) -> Status:
        """Wait until a job has ended, and give its last status. Raises WaitTimeoutError, UnknownJobError."""
        give_up = None if timeout is None else time.monotonic() + timeout
        last: Status | None = None
        while True:
            status = self.status(job)
            if progress is not None and status != last:
                progress(status)
            if status.state in ENDED:
                return status
            last = status
            if give_up is not None and time.monotonic() >= give_up:
                raise WaitTimeoutError(f"job {job} is {status.state} after {timeout:g} s; it goes on")
            time.sleep(_POLL_SECONDS)

    def results(self, job: str) -> Iterator[Line]:
        """Give every result of a job as soon as it is there, each image once; ends when the job has ended.

        Raises JobError with the reason, after the last result, if the job failed.
        """
        with self._answer("GET", f"/v1/jobs/{quote(job)}/results?format=ndjson", timeout=3600) as response:
            for raw in response:
                yield json.loads(raw)
        status = self.status(job)
        if status.state in ("failed", "dead"):
            raise JobError(f"job {job} failed: {status.reason}")

    def cancel(self, job: str) -> Status:
        """End a job: no further image is begun, finished results stay."""
        return _status(self._json("DELETE", f"/v1/jobs/{quote(job)}"))

    def retry(self, job: str, only_failures: bool = True) -> str:
        """Submit a job's failures (or all its images) again, as a new job; gives its id."""
        query = "true" if only_failures else "false"
        return str(self._json("POST", f"/v1/jobs/{quote(job)}/retry?only_failures={query}")["job"])

    def _json(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None,
        timeout: float = _TIMEOUT_S,
    ) -> Any:  # fmt: skip
        with self._answer(method, path, headers, body, timeout) as response:
            return json.loads(response.read())

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None,
        timeout: float = _TIMEOUT_S,
    ) -> Iterator[http.client.HTTPResponse]:  # fmt: skip
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout)
        sent = {**(headers or {}), **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        try:
            try:
                connection.request(method, self._base + path, body, sent)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise BrokerError(
                    f"the gateway {self._host} does not answer: {error or type(error).__name__}"
                ) from error
            if response.status >= 400:
                raise _error(response)
            yield response
        finally:
            connection.close()


class _Form:
    """A multipart form (RFC 7578) whose files are read while they are sent; iterable, as http.client wants a body."""

    def __init__(self, fields: Mapping[str, str], inputs: Sequence[Input]) -> None:
        if not inputs:
            raise SourceError("there are no inputs: give files, or the bytes of pictures")
        boundary = secrets.token_hex(16)
        self._parts: list[tuple[bytes, bytes | Path]] = []
        for name, value in fields.items():
            self._parts.append((_head(boundary, f'name="{name}"'), value.encode()))
        for number, one in enumerate(inputs):
            name = f"picture-{number}" if isinstance(one, bytes) else Path(one).name
            plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("?", "_")
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            head = _head(boundary, f'name="files"; filename="{plain}"', kind)
            self._parts.append((head, one if isinstance(one, bytes) else Path(one)))
        self._end = f"--{boundary}--\r\n".encode()
        size = len(self._end) + sum(len(head) + _size(data) + 2 for head, data in self._parts)
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}

    def __iter__(self) -> Iterator[bytes]:
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


def _head(boundary: str, disposition: str, kind: str | None = None) -> bytes:
    told = f"Content-Type: {kind}\r\n" if kind else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{told}\r\n".encode()


def _size(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    try:
        return data.stat().st_size
    except OSError as error:
        raise SourceError(f"{data} can't be read: {error.strerror or error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}") from error


def _status(told: dict[str, Any]) -> Status:
    known = {name: told[name] for name in Status.__slots__ if name in told}
    return Status(**{"source": "", "output": "", **known})


def _error(response: http.client.HTTPResponse) -> JobError | ParameterError:
    try:
        problem = json.loads(response.read(1 << 20))
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "http_error", f"the gateway answered {response.status} {response.reason}"
    if code == "bad_parameter":
        return ParameterError(detail)
    return _ERRORS.get(code, JobError)(detail)
