"""A worker's own small web server: what it counted (`/metrics`), whether it lives (`/live`), takes messages (`/ready`).

It runs in threads of the worker's parent. Readiness is what the consume loop last said, so a worker whose loop stands
still, or who looks into no queue any more, is alive and not ready.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from workers.deadletters import DeadLetters
from workers.errors import WorkerError
from workers.loaded import loaded_by
from workers.queues import WAITING
from workers.roll import Pulse
from workers.store import JobStore

_STORE_SECONDS = 2.0
_PLAIN, _METRICS = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"


class Exporter:
    """The server; its port is taken at once, requests are answered from `start` on."""

    def __init__(self, host: str, port: int, store_url: str, queue: str) -> None:
        """Take the port; 0: any free one. Raises WorkerError if it is taken."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Service(JobStore(store_url, _STORE_SECONDS), queue))  # a connection of its own: it is asked
        # for by other threads than the loop's, and a lock they hold at a fork would be held in the child for ever
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(registry))
        except OSError as error:
            raise WorkerError(
                f"metrics can't be served on {host}:{port} ({error.strerror or error}): choose another --metrics-port"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Answer from now on, in a thread."""
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer no more, and give the port back."""
        self._server.shutdown()
        self._server.server_close()


def readiness() -> str | None:
    """Why this worker is not ready; None if it is."""
    if Pulse.worker is None:
        return "the consume loop has not turned yet"
    worker = replace(Pulse.worker, silent=time.monotonic() - Pulse.at)
    if worker.is_ready:
        return None
    if worker.unfit:
        return f"it has taken itself out: {worker.unfit}"
    return (
        f"the consume loop last turned {worker.silent:.0f} s ago and, if free, had last looked into the queues "
        f"{worker.idle_for:.0f} s before that"
    )


def _handler(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds a connection may be silent

        def do_GET(self) -> None:
            if self.path == "/metrics":
                try:
                    self._answer(200, generate_latest(registry), _METRICS)
                except struct.error:  # the file of a process that has begun this very moment has no length yet
                    self._answer(503, b"a process is just beginning, ask again\n")
            elif self.path == "/live":
                self._answer(200, b"alive\n")
            elif self.path == "/ready":
                trouble = readiness()
                self._answer(503 if trouble else 200, f"{trouble or 'ready'}\n".encode())
            else:
                self._answer(404, b"/metrics, /live or /ready\n")

        def _answer(self, status: int, body: bytes, kind: str = _PLAIN) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """No line in the log for each scrape."""

    return Handler


class _Service:
    """What is known of the moment: this worker's state, and what waits in the service."""

    def __init__(self, store: JobStore, queue: str) -> None:
        self._store, self._queue = store, queue

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask, each time."""
        yield _gauge("pixelmill_worker_ready", "Whether this worker takes messages.", float(readiness() is None))
        worker = Pulse.worker
        if worker is not None:
            yield _gauge("pixelmill_worker_processes", "Pool processes of this worker.", worker.processes)
            yield _gauge("pixelmill_worker_busy", "Messages this worker holds.", worker.busy)
            yield _gauge("pixelmill_worker_memory_bytes", "Memory of all its processes.", worker.memory_mb * 2**20)
        try:
            families = list(self._of_the_store())
        except redis.RedisError:
            families = []
        yield _gauge("pixelmill_store_up", "Whether the store answers.", float(bool(families)))
        yield from families

    def _of_the_store(self) -> Iterator[GaugeMetricFamily]:
        store, queue, worker = self._store, self._queue, Pulse.worker
        depth = GaugeMetricFamily(
            "pixelmill_queue_shards", "Shards that wait; of the service, so the same from every worker.",
            labels=("priority",),
        )  # fmt: skip
        oldest = GaugeMetricFamily(
            "pixelmill_queue_oldest_seconds", "For how long the oldest waits; of the service.", labels=("priority",)
        )
        ages = store.oldest_waiting(queue, WAITING)
        for priority, count in store.waiting(queue, WAITING).items():
            depth.add_metric((priority,), count)
            oldest.add_metric((priority,), ages.get(priority, 0.0))
        yield from (depth, oldest)
        yield _gauge("pixelmill_jobs_running", "Jobs that have not ended; of the service.", len(store.running(queue)))
        letters = DeadLetters(store, queue).count()
        yield _gauge("pixelmill_dead_letters", "What was given up and not removed; of the service.", letters)
        models = GaugeMetricFamily(
            "pixelmill_models_loaded", "Processes of this worker that hold a model; provider: the one that serves.",
            labels=("pipeline", "model", "provider"),
        )  # fmt: skip
        held = GaugeMetricFamily(
            "pixelmill_model_bytes", "Memory that a model takes in all processes of this worker.",
            labels=("pipeline", "model", "provider"),
        )  # fmt: skip
        if worker is not None:
            for one in loaded_by(store, queue, {worker.name: worker.members})[worker.name]:
                models.add_metric((one.pipeline, one.model, one.provider), one.processes)
                held.add_metric((one.pipeline, one.model, one.provider), one.bytes)
        yield from (models, held)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
