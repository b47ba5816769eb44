"""The ASGI application of a gateway: `make_app(config, client)`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from workers.client import Client
from workers.gateway import catalogue, jobs, pictures, predict
from workers.gateway.callers import Doorkeeper
from workers.gateway.config import GatewayConfig
from workers.gateway.desk import Desk
from workers.gateway.events import Watchers
from workers.gateway.metrics import add_metrics
from workers.gateway.problems import PROBLEMS, Problem, add_handlers
from workers.gateway.records import Records
from workers.gateway.room import Room
from workers.gateway.uploads import BodyLimit

SITE = Path(__file__).parent / "site"
_SCRIPTS = ("app", "api", "page", "start", "job", "lists", "viewer")
_PAGES = {
    "": ("index.html", "text/html; charset=utf-8"),
    **{f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "favicon.svg": ("favicon.svg", "image/svg+xml"),
}
# what the page may load: itself and the pictures it makes of answers
_POLICY = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"


def make_app(config: GatewayConfig, client: Client) -> FastAPI:
    """Make the application. Raises OSError if the data folder can't be created."""
    app = FastAPI(
        title="Pixelmill",
        version="1",
        description="Pictures through a queue of computer-vision pipelines to results, each exactly once.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses=PROBLEMS,
    )
    room = Room(client, config.max_waiting)
    app.state.desk = Desk(config, client, Records(config.data), Doorkeeper(config), Watchers(client), room)
    add_handlers(app)
    for router in (jobs.router, pictures.router, predict.router, catalogue.router):
        app.include_router(router)
    add_metrics(app)
    _add_site(app)
    app.add_middleware(BodyLimit, most=config.max_body, idle=config.idle)
    if config.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(config.origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        )  # fmt: skip
    if config.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(config.hosts))
    return app


def _add_site(app: FastAPI) -> None:
    @app.get("/{name}", include_in_schema=False)
    def page(name: str, request: Request) -> Response:
        if name not in _PAGES:
            raise Problem(404, "not_found", f"there is nothing at {request.url.path}")
        file, kind = _PAGES[name]
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(SITE / file, media_type=kind, headers=headers)

    @app.get("/", include_in_schema=False)
    def front(request: Request) -> Response:
        return page("", request)
