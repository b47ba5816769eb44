"""`pixelmill jobs`: the jobs a service knows."""

from __future__ import annotations

import click

from workers.commands.job_words import broker_option, client_for, images, moment, printable


@click.command(
    epilog="""\b
Examples:
  pixelmill jobs
  pixelmill jobs --limit 5
  pixelmill jobs --json
"""
)
@broker_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most jobs to list.")
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array.")
def jobs(broker: str | None, limit: int, as_json: bool) -> None:
    """List the jobs of the last seven days, the newest first."""
    found = client_for(broker).list(limit)
    if as_json:
        import json

        click.echo(json.dumps([status.to_json() for status in found], indent=2))
        return
    if not found:
        click.echo("no jobs in the last seven days")
    for status in found:
        what = f"{status.pipeline}: {images(status)}"
        click.echo(f"{status.job}  {status.state:<18}  {moment(status.created)}  {what}  {printable(status.output)}")
