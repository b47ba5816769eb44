"""Running a gateway: alone before a service, or with a broker and a worker of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.errors import ParameterError
from workers.errors import BrokerError, OutputError, WorkerError
from workers.gateway.config import GatewayConfig
from workers.gateway.tokens import Tokens

if TYPE_CHECKING:
    from uvicorn import Server

    from workers.embedded import EmbeddedWorker

_WATCH_SECONDS = 1.0
_LIVED_SECONDS = 60  # a worker that dies less often than this is started again for ever
_GRACE_SECONDS = 10.0
_OLD_SECONDS = 24 * 3600


def serve(config: GatewayConfig, host: str, port: int, *, embedded: bool) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises ParameterError without any token where they are asked for, BrokerError, OutputError.
    """
    try:
        import uvicorn

        from workers.gateway.app import make_app
        from workers.gateway.sweeping import start_sweeping
    except ImportError as error:
        raise ParameterError(
            f"this needs {error.name}, which is not installed: pip install 'pixelmill[api]'"
        ) from error
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OutputError(f"data folder {config.data} can't be created: {error.strerror or error}") from error
    if config.tokens and not Tokens(config.tokens_file).all():
        raise ParameterError(
            f"nobody could ask: there is no token yet. `pixelmill tokens add NAME --data {config.data}` makes one; "
            "on loopback none is needed"
        )
    listener = _listen(host, port)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        broker, worker = stack.enter_context(_own_service(config)) if embedded else (None, None)
        from workers.client import Client

        _spool_into(config.data / "incoming")
        client = Client(broker, patience=5.0)
        client.ping()
        app = make_app(config, client)
        if config.keep_days:
            sweeping = start_sweeping(app.state.desk.records, client, config.keep_days * 24 * 3600)
            stack.callback(sweeping.set)
        where = f"http://{'[::1]' if ':' in host else host}:{listener.getsockname()[1]}"
        click.echo(f"Pixelmill serves {where}  (API: {where}/v1/openapi.json, data: {config.data})", err=True)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
        )
        asyncio.run(_serve(server, listener, worker))


@contextlib.contextmanager
def _own_service(config: GatewayConfig) -> Iterator[tuple[str, EmbeddedWorker]]:
    """A broker whose data stay, and a worker; both are gone when the gateway ends."""
    roots = os.pathsep.join(map(str, (config.data, *config.references)))
    os.environ["PIXELMILL_ROOTS"] = roots
    from workers.embedded import EmbeddedBroker, EmbeddedWorker
    from workers.settings import settings

    broker = EmbeddedBroker(config.data / "broker")
    worker = EmbeddedWorker(
        broker.url, settings(), config.data / "worker.log", broker.temporary, environment={"PIXELMILL_ROOTS": roots}
    )
    try:
        worker.start()
        yield broker.url, worker
    finally:
        worker.stop(_GRACE_SECONDS)
        broker.stop(keep=True)


def _spool_into(folder: Path) -> None:
    """Let uploads lie, while they come, beside where they are kept: a system's /tmp may be small, or memory.

    They have no name there. What a killed gateway left is removed: downloads as a zip, of more than a day ago.
    """
    folder.mkdir(exist_ok=True, mode=0o700)
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                left.unlink()
    tempfile.tempdir = str(folder)


async def _serve(server: Server, listener: socket.socket, worker: EmbeddedWorker | None) -> None:
    """Serve, and start the worker again when it dies: in this thread, to which its process is tied."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while worker is not None and not serving.done():
        try:
            worker.watch(int(time.monotonic() / _LIVED_SECONDS))
        except WorkerError:
            server.should_exit = True
            await serving
            raise
        await asyncio.wait([serving], timeout=_WATCH_SECONDS)
    await serving


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is one sentence before anything is started."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise BrokerError(
            f"{host}:{port} can't be listened on ({error.strerror or error}): choose another --port"
        ) from error
    # Connections inherit it. asyncio sets it itself only on sockets that name their protocol, and without it an answer
    # of two writes waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
