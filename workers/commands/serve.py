"""`pixelmill serve`: the HTTP API and the page."""

from __future__ import annotations

import os
from pathlib import Path

import click

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command(
    epilog="""\b
Examples:
  pixelmill serve --embedded                       # the whole service on this machine: http://127.0.0.1:8000
  PIXELMILL_BROKER=redis://queue:6379/0 pixelmill serve --host 0.0.0.0 --data /data
  curl -F pipeline=detect -F files=@street.jpg http://127.0.0.1:8000/v1/jobs
  curl -H 'Content-Type: image/jpeg' --data-binary @street.jpg http://127.0.0.1:8000/v1/predict/detect

\b
Off loopback every request needs a token: `pixelmill tokens add NAME` makes one.
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: a free one.")
@click.option("--embedded", is_flag=True, help="Start a broker and a worker too: one command, one machine.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("pixelmill-data"),
    show_default=True,
    help="Folder for uploads, results and tokens; workers must see it under the same path.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder from which jobs may name pictures by path; may be repeated. Default: uploads only.",
)
@click.option("--tokens/--no-tokens", default=None, help="Ask for bearer tokens.  [default: unless on loopback]")
@click.option("--allow-host", "hosts", multiple=True, help="Name the gateway answers to; may be repeated.")
@click.option("--allow-origin", "origins", multiple=True, help="Page on another host that may ask; may be repeated.")
@click.option("--max-body", default=1024, show_default=True, type=click.IntRange(1), help="MB of one request.")
@click.option("--max-files", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="In one request.")
@click.option(
    "--max-waiting", default=64, show_default=True, type=click.IntRange(1, 1000), help="Pictures in `predict`."
)
@click.option(
    "--keep-days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(0),
    help="After so many days uploads and results of a job that has ended are removed; 0: never.",
)
@click.option("--rate", default=50.0, show_default=True, type=click.FloatRange(0.1), help="Requests/s of one caller.")
def serve(
    host: str, port: int, embedded: bool, data: Path, roots: tuple[Path, ...], tokens: bool | None,
    hosts: tuple[str, ...], origins: tuple[str, ...], max_body: int, max_files: int, max_waiting: int, rate: float,
    keep_days: float,
) -> None:  # fmt: skip
    """Serve the HTTP API and the page until Ctrl-C."""
    from pipelines.errors import ParameterError
    from workers.errors import BrokerError
    from workers.gateway.serving import serve as serve_until_stopped

    for root in roots:
        if not root.is_dir():
            raise ParameterError(f"--root {root} is no folder: create it, or name another one")
    data = data.resolve()
    local = host in _LOOPBACK
    asks = not local if tokens is None else tokens
    if not embedded and not os.environ.get("PIXELMILL_BROKER"):
        raise BrokerError("a gateway needs a broker: set PIXELMILL_BROKER, or give --embedded for one of its own")
    from workers.gateway.config import GatewayConfig

    config = GatewayConfig(
        data=data,
        references=tuple(root.resolve() for root in roots),
        tokens=asks,
        # without tokens, a name that somebody else's DNS leads here must not do
        hosts=hosts or (() if asks else ("localhost", "127.0.0.1", "[::1]", host)),
        origins=origins,
        max_body=max_body * 10**6,
        max_files=max_files,
        max_waiting=max_waiting,
        rate=rate,
        keep_days=keep_days,
    )
    serve_until_stopped(config, host, port, embedded=embedded)
