"""The client of a gateway: the verbs of `workers.client.Client`, over HTTP.

    from workers import connect

    with connect("https://pixelmill.example", token="pixelmill_…") as client:
        job = client.submit("detect", ["street.jpg", Path("square.png")])
        for line in client.results(job):
            print(line["image"], line["status"])

Only the standard library is needed. Pictures are uploaded, each read while it is sent; results come back as they land.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from pipelines.card import Provider
from pipelines.errors import ParameterError
from workers.deadline import When, seconds_left
from workers.errors import BrokerError, JobError, QueueFullError, SourceError, UnknownJobError, WaitTimeoutError
from workers.folder import Source
from workers.inputs import Input
from workers.jobs import check_concurrency
from workers.journal import Line
from workers.queues import Priority
from workers.sending import Form, as_fields, files_of, in_words
from workers.status import ENDED, Status

if TYPE_CHECKING:
    from workers.service_status import ServiceStatus

_POLL_SECONDS = 0.2
_TIMEOUT_S = 60.0
_LONGEST = 24 * 3600.0
_MOST_LISTED = 200
_ERRORS: dict[str, type[JobError]] = {
    "unknown_job": UnknownJobError,
    "queue_full": QueueFullError,
    "deadline_exceeded": WaitTimeoutError,
    "broker_away": BrokerError,
    "bad_input": SourceError,
    "no_files": SourceError,
}


class RemoteClient:
    """A gateway, seen from a program. A context, as `Client` is; each call has a connection of its own anyway."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take the gateway's address; nothing is sent yet. token: default: PIXELMILL_TOKEN."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(f"{url!r} is no address of a gateway: http(s)://HOST[:PORT]")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._token = token or os.environ.get("PIXELMILL_TOKEN")
        self._closed = False

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the use of this client: any other call raises JobError from now on; jobs go on."""
        self._closed = True

    def ping(self) -> None:
        """Raise BrokerError if the gateway, or the service behind it, does not answer."""
        self.service()

    def is_alive(self, timeout: float = _TIMEOUT_S) -> bool:
        """True if the gateway's process answers, whatever is behind it; needs no token. Raises BrokerError."""
        return bool(self._json("GET", "/healthz", timeout=timeout)["status"] == "ok")

    def submit(
        self,
        pipeline: str,
        inputs: Input | Sequence[Input] | Source,
        *,
        output: str | Path | None = None,
        params: Mapping[str, Any] | None = None,
        model: str | None = None,
        priority: Priority = "normal",
        key: str = "",
        overlays: bool = True,
        force: bool = False,
        provider: Provider = "auto",
        allow_fallback: bool = False,
        formats: Sequence[str] | None = None,
        deadline: When | None = None,
        webhook: str = "",
        concurrency: int | None = None,
        references: bool = False,
    ) -> str:
        """Upload pictures as a job and give its id, as `Client.submit` does; the gateway keeps the results.

        inputs: files, folders, globs, list files or the bytes of images, which are uploaded; URIs, which the service
        fetches if its operator allows; for `generate` `workers.seeds.seeds(count, seed)`.
        references: inputs are paths as the gateway sees them; nothing is uploaded.
        key: the same key gives the same job; without one, each call is a new job.
        deadline: from now, or when. webhook: URL that is told when the job has ended.
        concurrency: how many processes of the service may work on the job at once; None: all there are.
        output, force: so that a program moves by its URL alone; results come by `results` and `download`, and nothing
        is there that a new job could reuse. provider: "auto" only, the workers' operator chooses.
        """
        if provider != "auto" or allow_fallback:
            raise ParameterError("a gateway's operator chooses the provider: leave out provider and allow_fallback")
        asked: dict[str, Any] = {
            "pipeline": pipeline, "params": dict(params or {}), "priority": priority, "overlays": overlays,
            **({"model": model} if model is not None else {}),
            **({"formats": list(formats)} if formats is not None else {}),
            **({"deadline": seconds_left(deadline)} if deadline is not None else {}),
            **({"webhook": webhook} if webhook else {}),
            **({"concurrency": check_concurrency(concurrency)} if concurrency is not None else {}),
        }  # fmt: skip
        words = in_words(inputs, references)
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        if words is not None:
            body: Form | bytes = json.dumps({**asked, **words}).encode()
            headers["Content-Type"] = "application/json"
        else:
            body = Form(as_fields(asked), files_of(inputs))
            headers |= body.headers
        return str(self._json("POST", "/v1/jobs", headers, body)["job"])

    def run(
        self,
        pipeline: str,
        image: str | Path | bytes,
        *,
        params: Mapping[str, Any] | None = None,
        model: str | None = None,
        provider: Provider = "auto",
        allow_fallback: bool = False,
        timeout: float = 60.0,
    ) -> Line:
        """Take one picture through a pipeline and wait for its result; a picture that can't be read raises JobError.

        provider: as for `submit`.
        """
        if provider != "auto" or allow_fallback:
            raise ParameterError("a gateway's operator chooses the provider: leave out provider and allow_fallback")
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
        return [_status(one) for one in self._json("GET", f"/v1/jobs?limit={min(limit, _MOST_LISTED)}")]

    def waiting(self) -> Mapping[str, int]:
        """How many shards wait, by priority, and "for torch" if any do."""
        return dict(self.service().waiting)

    def service(self) -> ServiceStatus:
        """Say how the service is. Which jobs run, only an `admin` token is told."""
        from workers.service_status import from_json

        told: dict[str, Any] = self._json("GET", "/v1/service")
        running = told["running"] if isinstance(told["running"], Sequence) else ()
        return from_json(told, tuple(_status(one) for one in running))

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

    def results(self, job: str, timeout: float | None = None) -> Iterator[Line]:
        """Give every result of a job as soon as it is there, each image once; ends when the job has ended.

        timeout: seconds; None: as long as it takes.
        Raises JobError with the reason, after the last result, if the job failed, WaitTimeoutError.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        path = f"/v1/jobs/{quote(job)}/results?format=ndjson"
        with self._answer("GET", path, timeout=_LONGEST if timeout is None else timeout) as response:
            try:
                for raw in response:
                    yield json.loads(raw)
                    if give_up is not None and time.monotonic() >= give_up:
                        break
                else:
                    give_up = None
            except TimeoutError:
                give_up = 0.0
        if give_up is not None:
            raise WaitTimeoutError(f"job {job} has not ended after {timeout or _LONGEST:g} s; it goes on")
        status = self.status(job)
        if status.state in ("failed", "dead"):
            raise JobError(f"job {job} failed: {status.reason}")

    def download(self, job: str, format: str, target: str | Path) -> Path:
        """Write a finished job's results in one of the product's formats to a file; a folder comes as a zip."""
        path = f"/v1/jobs/{quote(job)}/results?format={quote(format)}"
        with self._answer("GET", path) as response, Path(target).open("wb") as file:
            shutil.copyfileobj(response, file)
        return Path(target)

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
        if self._closed:
            raise JobError("this client is closed: make another one for further calls")
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
