"""`/metrics`: requests by route and status, how long they took, and what waits, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway.desk import AtDesk, Reader

if TYPE_CHECKING:
    from fastapi import FastAPI

router = APIRouter(tags=["service"])

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one gateway."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pixelmill_http_requests", "Requests, by route, method and status.", ("route", "method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "pixelmill_http_request_seconds", "From a request to the end of its answer.", ("route",),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.waiting = Gauge("pixelmill_queue_waiting", "Shards that wait.", ("priority",), registry=self.registry)


class Counted:
    """Middleware that counts requests under their route's pattern, so that ids don't become labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, scope["method"], str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def add_metrics(app: FastAPI) -> None:
    """Count an application's requests and serve the counts."""
    app.state.metrics = Metrics()
    app.add_middleware(Counted, metrics=app.state.metrics)
    app.include_router(router)


@router.get("/metrics", response_class=Response)
def metrics(request: Request, desk: AtDesk, caller: Reader) -> Response:
    """The counts as Prometheus reads them; each worker has its own (`pixelmill worker --metrics-port`)."""
    kept: Metrics = request.app.state.metrics
    for priority, count in {"for torch": 0, **desk.client.waiting()}.items():
        kept.waiting.labels(priority).set(count)
    return Response(generate_latest(kept.registry), media_type=CONTENT_TYPE_LATEST)
