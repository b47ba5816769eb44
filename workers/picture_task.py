"""The worker's side of a picture that somebody waits for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from pydantic import ValidationError
from redis.client import NEVER_DECODE

from pipelines.errors import PixelmillError
from workers import logs, metrics, tasks
from workers.app import app
from workers.picture import MOST_ATTEMPTS, TASK_PICTURE, Picture, reply, reply_key, upload_key, waiting_member
from workers.roots import check_roots, is_inside
from workers.settings import settings
from workers.store import JobStore, waiting_key

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline
    from pipelines.results import Result

log = logging.getLogger(__name__)


@app.task(name=TASK_PICTURE)  # type: ignore[untyped-decorator]
def picture(message: dict[str, Any]) -> None:
    """Take one picture through a pipeline and put its result where its client waits."""
    try:
        parsed = Picture.model_validate(message)
    except ValidationError as error:
        tasks.put_aside("a picture's message", message, error)
        return
    config, store = settings(), tasks.store()
    metrics.waited(store, config.queue, parsed.spec, "picture")
    store.redis.zrem(waiting_key(config.queue, "high"), waiting_member(parsed.spec))
    try:
        with logs.at_work(parsed.spec.job, "picture"):
            result, provider = _attempt(parsed, store, config.queue, config.allowed_roots)
    except PixelmillError as error:
        log.warning("a picture can't be run: %s", error)
        reply(store, config.queue, parsed.spec, {"error": str(error)})
        return
    except redis.RedisError:
        raise
    except Exception as error:  # a defect of ours or of a library: who waits is not to wait in vain
        log.exception("a picture broke")
        reply(store, config.queue, parsed.spec, {"error": f"it broke with {type(error).__name__}: {str(error)[:300]}"})
        return
    spec = parsed.spec
    about = {
        "pipeline": spec.pipeline,
        "model": {"name": spec.model_name, "sha256": spec.model_sha256},
        "params": spec.params,
        "fingerprint": spec.fingerprint,
        "provider": provider,
    }
    line = result.to_json()
    metrics.image_done(spec.pipeline, line)
    reply(store, config.queue, spec, {"line": {**line, **about}})
    store.count_finished(config.queue, 1)


def _attempt(message: Picture, store: JobStore, queue: str, roots: tuple[Path, ...]) -> tuple[Result, str | None]:
    """Give the result and the provider that served it; a picture that kills its worker again and again is given up."""
    attempts = f"{reply_key(queue, message.spec)}:attempts"
    number = int(store.redis.incr(attempts))
    store.redis.expire(attempts, 600)
    if number > MOST_ATTEMPTS:
        return _failed(message.name, "crashed", f"the process died {number - 1} times while it worked on it"), None
    here = str(roots[0])
    check_roots(message.spec.model_copy(update={"root": here, "output": here}), roots)
    with tasks.pipeline_for(message.spec) as pipeline:
        return _run(message, pipeline, store, queue, roots), pipeline.session.provider


def _run(message: Picture, pipeline: Pipeline, store: JobStore, queue: str, roots: tuple[Path, ...]) -> Result:
    if message.path is not None:
        path = Path(message.path)
        if not is_inside(path, roots):
            return _failed(message.name, "outside_roots", "the file lies outside the folders this worker may read")
        return pipeline((message.name, path))
    data = store.redis.execute_command("GET", upload_key(queue, message.spec), **{NEVER_DECODE: []})
    if data is None:
        return _failed(message.name, "not_found", "its bytes are not in the store any more")
    return pipeline((message.name, data))


def _failed(name: str, code: Any, trouble: str) -> Result:
    from pipelines.results import Failure, Result

    return Result(name, error=Failure(code, trouble))
