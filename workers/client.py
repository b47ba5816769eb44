"""The client for programs: submit a job, watch it, read its results while it runs, cancel it, try again.

    from workers import Client

    with Client("redis://queue:6379/0") as client:
        job = client.submit("detect", "photos/", output="results/")
        for line in client.results(job):
            print(line["image"], line["status"])

A job that was submitted needs no client: this process may end, and any other may ask for it by its id. What waits here
survives a broker that is started again. Importing this loads neither Celery nor ONNX Runtime nor OpenCV.
"""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import redis

from pipelines.card import Provider
from workers.deadline import When
from workers.errors import BrokerError, JobError, UnknownJobError, WaitTimeoutError
from workers.folder import Source
from workers.inputs import Input, gather
from workers.job_request import Request, resolve
from workers.jobs import JobSpec, new_job_id
from workers.journal import Line
from workers.link import POLL_SECONDS, Link
from workers.picture import ask
from workers.queues import Priority, is_rabbitmq
from workers.registry import Head
from workers.retrying import images_again
from workers.seeds import said
from workers.service_status import ServiceStatus, for_torch, service_status
from workers.services import Service
from workers.settings import settings
from workers.settling import settle_stopped
from workers.status import Status, status_of
from workers.store import JobStore
from workers.submission import submit
from workers.tail import Tail

_LISTED = 50


class Client:
    """One service: its broker, its store, its queue. A context: when it is left, no connection stays open."""

    def __init__(self, broker: str | None = None, store: str | None = None, patience: float = 300.0) -> None:
        """Take the service's addresses; nothing is sent yet.

        broker: its URL; default: PIXELMILL_BROKER. store: default: PIXELMILL_STORE, else the broker.
        patience: seconds for which waiting calls bear a broker that is away.
        Raises BrokerError if there is no broker.
        """
        self._config = settings()
        url = broker or self._config.broker
        if url is None:
            raise BrokerError(
                "a client needs a broker: set PIXELMILL_BROKER or give Client(broker=…), e.g. redis://localhost:6379/0 "
                "(`pixelmill run` brings its own)"
            )
        self._broker = url
        there = store or (self._config.store if broker is None or is_rabbitmq(url) else None) or url
        self._link = Link(url, there, patience)
        self._specs: dict[str, JobSpec] = {}

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close every connection, once no call is under way in another thread; jobs go on.

        To close twice changes nothing. Any other call raises JobError from now on.
        """
        self._link.close()

    def ping(self) -> None:
        """Raise BrokerError if the service's store does not answer."""
        self._store.ping()

    def submit(
        self,
        pipeline: str,
        inputs: Input | Sequence[Input] | Source,
        *,
        output: str | Path,
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
    ) -> str:
        """Submit a job, and give its id once the service has all there is to know of it.

        inputs: a file, a folder, a glob, a list file, the bytes of an image, or a sequence of these; for `generate`
        `workers.seeds.seeds(count, seed)`.
        output: folder for the results; it and the inputs must be where workers see them too.
        key: your own name for the job: the same key gives the same job. Without one, the same pipeline, model,
        parameters, output folder and inputs do (names, sizes and times are compared).
        force: compute all images again, and replace results of another job in the same folder.
        formats: what else the results are written as (`pixelmill run --help` names them).
        deadline: seconds from now, a timedelta or a datetime with its zone; what is not done then is not done any more.
        webhook: URL that is told, signed, when the job has ended.
        concurrency: how many processes of the service may work on the job at once; None: all there are.
        Raises JobError, ParameterError or ModelError if it can't run; then nothing is queued.
        """
        self._link.check_open()
        settled = (said(inputs), inputs) if isinstance(inputs, Source) else None
        told, images = settled or gather(cast(Input | Sequence[Input], inputs), Path(output), self._config)
        request = Request(
            pipeline, told, Path(output), model, params or {}, overlays, force, provider, allow_fallback, priority,
            images=images, formats=None if formats is None else tuple(formats), deadline=deadline, webhook=webhook,
            concurrency=concurrency,
        )  # fmt: skip
        return self.submit_request(request, key)

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
        wanted: Callable[[], bool] = lambda: True,
    ) -> Line:
        """Take one picture through a pipeline and wait for its result: a line as in `results.jsonl`, as a dict.

        image: a path workers see too, or the picture's bytes (up to 32 MiB). It goes before everything that waits. No
        overlay, mask or picture file is written. timeout: seconds. wanted: if it says no, nobody waits any more.
        A picture that can't be read is a result with an error. Raises WaitTimeoutError, BrokerError, JobError if the
        worker can't run the pipeline, ParameterError or ModelError.
        """
        self._link.check_open()
        spec = self._spec(pipeline, model, params or {}, provider, allow_fallback)
        spec = spec.model_copy(update={"job": new_job_id()})
        return ask(self._link.app, self._store, self._config.queue, spec, image, timeout, wanted)

    def status(self, job: str) -> Status:
        """Say how a job is. Raises UnknownJobError with the nearest id, BrokerError if the store is away."""
        status = self._link.ask(lambda: status_of(self._link.registry, job))
        if status is None:
            raise UnknownJobError(self._say_unknown(job))
        return status

    def waiting(self) -> Mapping[str, int]:
        """How many shards wait, by priority, and "for torch" if any do. Raises BrokerError if the store is away."""
        queue = self._config.queue
        return self._link.ask(lambda: self._store.waiting(queue) | for_torch(self._store, queue))

    def service(self) -> ServiceStatus:
        """Say how the service is. Raises BrokerError if the store is away."""
        return self._link.ask(lambda: service_status(self._link.registry, self._config.queue, self._broker))

    def list(self, limit: int = _LISTED) -> list[Status]:
        """Give the jobs of the last seven days, the newest first."""
        found = (status_of(self._link.registry, job) for job in self._link.ask(lambda: self._link.registry.jobs(limit)))
        return [status for status in found if status is not None]

    def wait(self, job: str, progress: Callable[[Status], None] | None = None, timeout: float | None = None) -> Status:
        """Wait until a job has ended, and give its last status; a broker that is started again is waited for too.

        progress: called with the status whenever that has changed. timeout: seconds; None: as long as it takes.
        Raises WaitTimeoutError when that is over, UnknownJobError, or BrokerError if the broker stays away.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last: Status | None = None
        while True:
            status = self._link.patiently(lambda: self.status(job), deadline)
            if progress is not None and status != last:
                progress(status)
            if status.has_ended:
                return status
            last = status
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"job {job} is {status.state} after {timeout:g} s ({status.finished} images finished); it goes on"
                )
            time.sleep(POLL_SECONDS)

    def results(self, job: str, timeout: float | None = None) -> Iterator[Line]:
        """Give every result of a job as soon as it is on disk, each image once, in the order in which they are done.

        Ends when the job has ended; what stands in its output folder from earlier jobs comes last.
        Each is a line of `results.jsonl` as a dict. This process must see the output folder.
        Raises JobError with the reason, after the last result, if the job failed; otherwise as `wait`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        status = self._link.patiently(lambda: self.status(job), deadline)
        tail = Tail(Path(status.output), job)
        while True:
            ended = status.has_ended  # before the last look, so that nothing falls between the two
            yield from tail.new()
            if ended:
                yield from tail.merged()
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"job {job} is {status.state} after {timeout:g} s; it goes on")
            time.sleep(POLL_SECONDS)
            status = self._link.patiently(lambda: self.status(job), deadline)
        if status.state in ("failed", "dead"):
            raise JobError(f"job {job} failed: {status.reason}")

    def cancel(self, job: str) -> Status:
        """End a job: no further image is begun, those in work are finished and kept.

        A job that has ended already stays as it is. Returns when nothing of it is at work any more and its results so
        far stand in `results.jsonl`.
        """
        status = self.status(job)
        if status.has_ended:
            return status
        self._link.ask(lambda: self._store.end(job, "cancelled", "cancelled by a client"))
        self._link.ask(lambda: settle_stopped(self._store, job, Path(status.output)))
        return self.status(job)

    def retry(self, job: str, only_failures: bool = True) -> str:
        """Submit a job's images again as a new job into the same folder, and give its id.

        only_failures: images that failed, whatever the reason, and those an ended job did not come to; else all.
        Raises JobError if the job has not ended, or there is nothing to try again.
        """
        head, status = self._head(job), self.status(job)
        if not status.has_ended:
            raise JobError(f"job {job} is {status.state}: wait for it or cancel it before it is tried again")
        spec = head.spec
        images = images_again(spec, only_failures=only_failures)
        request = Request(
            spec.pipeline, head.source, Path(spec.output), spec.model, spec.params, spec.overlays, True,
            spec.provider, spec.allow_fallback, spec.priority, images=images, formats=spec.formats,
            webhook=head.webhook, concurrency=spec.concurrency,
        )  # fmt: skip
        return self.submit_request(request)

    def submit_request(self, request: Request, key: str = "") -> str:
        """Submit a job that is described already; otherwise as `submit`."""
        try:
            self._store.ping()
            return submit(request, Service(self._link.app, self._store), self._config, key)
        except redis.RedisError as error:
            raise BrokerError(f"the store went away while a job was submitted ({error}): submit it again") from error

    def _spec(
        self, pipeline: str, model: str | None, params: Mapping[str, Any], provider: Provider, allow_fallback: bool
    ) -> JobSpec:
        """The spec of single pictures, resolved once for each pipeline, model and parameters."""
        key = json.dumps([pipeline, model, dict(params), provider, allow_fallback], sort_keys=True, default=str)
        if key not in self._specs:
            nowhere = Source(Path(os.sep), ("picture",))
            request = Request(
                pipeline, "", Path(os.sep, "no-folder"), model, params, False, provider=provider,
                allow_fallback=allow_fallback, priority="high", images=nowhere,
            )  # fmt: skip
            self._specs[key] = resolve(request)[0]
        return self._specs[key]

    @property
    def _store(self) -> JobStore:
        return self._link.store

    def _head(self, job: str) -> Head:
        head = self._link.ask(lambda: self._link.registry.head(job))
        if head is None:
            raise UnknownJobError(self._say_unknown(job))
        return head

    def _say_unknown(self, job: str) -> str:
        known = self._link.ask(self._link.registry.jobs)
        near = difflib.get_close_matches(job, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"the service knows no job {job!r}: {hint}`pixelmill jobs` lists those of the last seven days"
