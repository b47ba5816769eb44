"""`pixelmill tokens`: who may use the HTTP API."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("pixelmill-data"),
    show_default=True,
    help="The gateway's data folder.",
)


@click.group(
    epilog="""\b
Examples:
  pixelmill tokens add web-team
  pixelmill tokens add dashboard --scope read --days 90
  pixelmill tokens list
  pixelmill tokens remove web-team
"""
)
def tokens() -> None:
    """Make, list and remove the bearer tokens of a gateway; a change counts at once."""


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["submit", "read", "admin"]),
    help="What it may do; may be repeated.  [default: submit and read]",
)
@click.option("--days", type=click.FloatRange(0, min_open=True), help="Refuse it after so many.  [default: never]")
@_DATA
def add(name: str, scopes: tuple[str, ...], days: float | None, data: Path) -> None:
    """Make a token and print it: it is shown this once, only its hash is kept."""
    from workers.gateway.config import GatewayConfig
    from workers.gateway.tokens import SCOPES, Tokens

    chosen = [scope for scope in SCOPES if scope in (scopes or ("submit", "read"))]
    expires = None if days is None else int(time.time() + days * 86400)
    click.echo(Tokens(GatewayConfig(data.resolve()).tokens_file).add(name, chosen, expires))


@tokens.command(name="list")
@_DATA
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_tokens(data: Path, as_json: bool) -> None:
    """List the tokens: names, scopes, when each was made."""
    from workers.gateway.config import GatewayConfig
    from workers.gateway.tokens import Tokens

    known = Tokens(GatewayConfig(data.resolve()).tokens_file).all()
    if as_json:
        click.echo(json.dumps([token.model_dump(mode="json", exclude={"sha256"}) for token in known], indent=2))
        return
    for token in known:
        until = "" if token.expires is None else f" to {_day(token.expires)}{', expired' if token.has_expired else ''}"
        click.echo(f"{token.name}  {', '.join(token.scopes)}  {_day(token.created)}{until}")
    if not known:
        click.echo("no tokens: `pixelmill tokens add NAME` makes one", err=True)


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


@tokens.command()
@click.argument("name")
@_DATA
def remove(name: str, data: Path) -> None:
    """Remove a token: it is refused from now on, its jobs stay."""
    from workers.gateway.config import GatewayConfig
    from workers.gateway.tokens import Tokens

    Tokens(GatewayConfig(data.resolve()).tokens_file).remove(name)
    click.echo(f"removed {name}")
