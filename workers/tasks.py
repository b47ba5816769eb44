"""The two Celery tasks, thin: a message is read, the work is done elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import redis
from pydantic import ValidationError

from pipelines.card import first_error
from pipelines.errors import ModelError, PixelmillError
from workers import logs
from workers.app import TASK_CLOSE, TASK_SHARD, app
from workers.closing import close_job
from workers.deadletters import DeadLetters
from workers.fitness import Reports
from workers.jobs import Close, JobSpec, Shard
from workers.limits import Limits
from workers.loaded import Teller, process_name
from workers.model_cache import ModelCache
from workers.patience import patiently
from workers.publish import publish
from workers.queues import queue_of
from workers.refill import refill
from workers.settings import settings
from workers.shard import Kind, attempt_shard
from workers.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.pipeline import Pipeline

log = logging.getLogger(__name__)

PRELOAD = "PIXELMILL_PRELOAD"  # a JobSpec a worker started for one job loads before its first message

_models: ModelCache | None = None
_making = Lock()
_teller = Teller()
_store: JobStore | None = None


@app.task(name=TASK_SHARD, Request="workers.request:ShardRequest")  # type: ignore[untyped-decorator]
def shard(message: dict[str, Any]) -> None:
    """Make an attempt at a shard."""
    try:
        parsed = Shard.model_validate(message)
    except ValidationError as error:
        put_aside("a shard's message", message, error)
        return
    config = settings()
    seconds = min(config.image_seconds, config.shard_seconds / 2)  # an image must not take its shard over the limit
    with contextlib.ExitStack() as in_use:
        attempt_shard(
            parsed,
            store(),
            lambda spec: in_use.enter_context(pipeline_for(spec)),
            threads=threads_per_process(),
            lease_seconds=config.lease_seconds,
            roots=config.allowed_roots,
            limits=Limits(seconds, config.memory_growth * 2**20, config.shard_seconds),
            give_back=lambda message: publish(
                app, queue_of(config.queue, parsed.spec.pipeline, parsed.spec.priority), message
            ),
            went=lambda kind, reason: tell_fitness(parsed.spec.job, kind, reason),
        )
    refill(app, store(), config.queue, parsed.spec)


@app.task(name=TASK_CLOSE, Request="workers.request:ShardRequest")  # type: ignore[untyped-decorator]
def close(message: dict[str, Any]) -> None:
    """Merge a job's results and draw up its report."""
    try:
        parsed = Close.model_validate(message)
    except ValidationError as error:
        put_aside("a closing message", message, error)
        return
    with logs.at_work(parsed.spec.job, parsed.key):
        close_job(parsed, store(), lease_seconds=settings().lease_seconds)


def tell_fitness(job: str, kind: Kind, reason: str) -> None:
    """Tell this worker's parent how an attempt went, as far as it says something about this machine."""
    worker = process_name(os.getppid())
    with contextlib.suppress(redis.RedisError):  # what can't be told now is told by the next attempt
        if kind == "done":
            Reports(store(), settings().queue).managed(worker, job)
        elif kind == "held up":
            Reports(store(), settings().queue).failed(worker, job, reason)


def put_aside(what: str, message: object, error: ValidationError) -> None:
    """Put a message that is none of ours to the dead letters."""
    cause = f"{what} is not valid: {first_error(error)}"
    log.error("%s; it is put to the dead letters", cause)
    text = json.dumps(message)
    patiently(lambda: DeadLetters(store()).add("message", "invalid", cause, message=text), "a message is put aside")


def store() -> JobStore:
    """This process's connection to the job store."""
    global _store
    if _store is None:
        config = settings()
        url = config.store or config.broker
        assert url is not None  # noqa: S101 - a worker without a broker does not start
        _store = JobStore(url)
    return _store


def processes_per_worker() -> int:
    """Pool processes of this worker: two, so that one works while the other fetches its next message."""
    from pipelines.cores import available_cores

    return settings().processes or min(2, available_cores())


def threads_per_process() -> int:
    """Pictures in work at once in one pool process: the cores divided among the processes."""
    from pipelines.cores import available_cores

    return settings().threads or max(1, -(-available_cores() // processes_per_worker()))


@contextlib.contextmanager
def pipeline_for(spec: JobSpec) -> Iterator[Pipeline]:
    """Give the pipeline of a job, loaded if this process does not hold it, and hold it until the context is left.

    Raises ModelError if this machine's model files are others than the job's, or as `pipelines.pipeline.build`.
    """
    key = f"{spec.fingerprint} {spec.provider} {spec.allow_fallback}"
    with models().use(key, lambda: _file_bytes(spec), lambda: _load(spec)) as pipeline:
        _tell()
        yield pipeline


def models() -> ModelCache:
    """The models this process holds."""
    global _models
    with _making:
        if _models is None:
            _models = ModelCache(settings().model_memory * 2**20)
        return _models


def _file_bytes(spec: JobSpec) -> int:
    """Size of a job's model files; 0 if there are none here, which loading them will say better."""
    from pipelines.card import read_card
    from pipelines.catalog import find_model
    from pipelines.companions import companion
    from pipelines.params import resolve_params

    try:
        total = Path(spec.model).stat().st_size
        card = read_card(Path(spec.model))
        helper = companion(card, resolve_params(card, spec.params, spec.pipeline))
        return total + (find_model(helper).stat().st_size if helper else 0)
    except (OSError, PixelmillError):
        return 0


def _load(spec: JobSpec) -> Pipeline:
    from pipelines.image import Limits
    from pipelines.pipeline import build

    config = settings()
    pipeline = build(
        Path(spec.model),
        spec.params,
        pipeline=spec.pipeline,
        provider=spec.provider if spec.provider != "auto" else config.provider,
        allow_fallback=spec.allow_fallback,
        limits=Limits(config.max_pixels, config.max_bytes, config.memory_growth * 2**20),
    )
    if pipeline.session.checksum != spec.model_sha256:
        raise ModelError(
            f"model file {spec.model} on this worker has checksum {pipeline.session.checksum[:12]}, the job wants "
            f"{spec.model_sha256[:12]}: give all machines the same file"
        )
    if spec.companion_sha256 and pipeline.companion_sha256 != spec.companion_sha256:
        here = (pipeline.companion_sha256 or "none")[:12]
        raise ModelError(
            f"the detector that goes with {spec.model_name!r} has checksum {here} on this worker, the job wants "
            f"{spec.companion_sha256[:12]}: give all machines the same file"
        )
    if pipeline.session.on_gpu:
        pipeline.warm()
    return pipeline


def _tell() -> None:
    """Let `pixelmill status` know what is loaded; a store that is away will be told another time."""
    with contextlib.suppress(redis.RedisError):
        _teller.tell(store(), settings().queue, models().held())


def warm_up() -> None:
    """Load the model this worker was started for, while its parent still connects to the broker."""
    spec_json = os.environ.get(PRELOAD)
    if not spec_json:
        return

    def load() -> None:
        try:
            with pipeline_for(JobSpec.model_validate(json.loads(spec_json))):
                log.debug("the model is loaded")
        except (PixelmillError, ValidationError, ValueError) as error:
            log.info("warm-up did not load the model, the first shard will tell why: %s", error)

    Thread(target=load, name="warm-up", daemon=True).start()
