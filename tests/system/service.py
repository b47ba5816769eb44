"""A service for tests: workers started by hand on a real server, and jobs put into it without a client."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.card import model_checksum
from pipelines.catalog import SHIPPED
from tests.redis_server import RedisServer
from tests.system.processes import ROOT, Lines, descendants, drawn, started_worker, until
from workers.jobs import JobSpec, Shard, new_job_id
from workers.journal import RESULTS, STATE, read_lines, settle
from workers.publish import publish
from workers.queues import queue_for
from workers.roll import Roll
from workers.store import JobStore

# a worker with this in its environment is killed by the pictures that `poisoned` makes
POISONABLE = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'poison'}"}
MODEL = SHIPPED / "efficientnet-lite0.onnx"
QUEUE = "pixelmill"


@contextlib.contextmanager
def worker_on(
    server: RedisServer, *roots: Path, processes: int = 1, threads: int = 1, log_level: str = "INFO", **variables: str
) -> Iterator[psutil.Process]:
    """A worker started by hand that takes messages; ended as an operator would end it."""
    options = [option for root in roots for option in ("--root", str(root))]
    options += ["--processes", str(processes), "--threads", str(threads), "--log-level", log_level]
    with started_worker("--broker", server.broker, *options, **variables) as process:
        name = f"pixelmill-{process.pid}@"
        roll = Roll(JobStore(server.url), QUEUE)
        until(
            lambda: process.poll() is not None or any(one.name.startswith(name) for one in roll.workers()),
            "the worker takes messages",
        )
        assert process.poll() is None
        family = psutil.Process(process.pid)
        until(lambda: len(descendants(process.pid)) >= processes, "the worker has its children")
        yield family
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [family, *family.children(recursive=True)]:
                one.resume()
            family.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)


def poisoned(path: Path, how: str, seed: int = 7) -> Path:
    """A healthy picture that does something terrible to a worker that is poisonable (see tests/poison)."""
    drawn(path, seed)
    with path.open("ab") as file:
        file.write(b"POISON:" + how.encode())
    return path


def kill_whole(worker: psutil.Process) -> None:
    """SIGKILL for every process of a worker, so that nobody of it is left to notice."""
    family = [worker, *worker.children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        process.kill()


def submit(
    server: RedisServer,
    root: Path,
    output: Path,
    shards: Iterable[Sequence[str]],
    **changes: Any,
) -> JobSpec:
    """Put a job of classification into the service, all shards at once."""
    from workers.app import make_app

    spec = JobSpec.model_validate(
        {
            "job": new_job_id(),
            "pipeline": "classify",
            "model": str(MODEL),
            "model_name": "efficientnet-lite0",
            "model_sha256": model_checksum(MODEL),
            "params": {"top_k": 2},
            "fingerprint": "f" * 16,
            "root": str(root),
            "output": str(output),
            "overlays": False,
            **changes,
        }
    )
    store, app = JobStore(server.url), make_app(server.broker)
    (output / STATE).mkdir(parents=True, exist_ok=True)
    store.create(spec.job, queue=QUEUE, priority=spec.priority)
    for number, images in enumerate(shards):
        shard = Shard(spec=spec, number=number, images=tuple(images))
        message = json.dumps({"task": "pixelmill.shard", "payload": shard.model_dump(mode="json")})
        store.open(spec.job, shard.key, message)
        publish(app, queue_for(QUEUE, spec.priority), message)
    return spec


def finished(server: RedisServer, spec: JobSpec, seconds: float = 90) -> Lines:
    """Wait until no shard of a job is open; give its results by image, every image once."""
    store = JobStore(server.url)
    until(lambda: store.progress(spec.job).open == 0 or store.progress(spec.job).state != "running", "done", seconds)
    settle(Path(spec.output))
    lines = list(read_lines(Path(spec.output) / RESULTS))
    by_image = {line["image"]: line for line in lines}
    assert len(by_image) == len(lines), "an image has more than one line"
    return by_image


def attempts(server: RedisServer, spec: JobSpec) -> dict[str, int]:
    """How many attempts were begun at each open shard."""
    found = JobStore(server.url).redis.hgetall(JobStore._keys(spec.job)[4])
    return {shard: int(count) for shard, count in found.items()}


def held_by(server: RedisServer, spec: JobSpec, worker: psutil.Process) -> set[str]:
    """The shards a worker's processes work on."""
    mine = {str(process.pid) for process in worker.children(recursive=True)}
    live = JobStore(server.url).progress(spec.job).live
    return {shard for shard, token in live.items() if token.split(":")[1] in mine}
