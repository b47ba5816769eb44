"""`pixelmill cancel`: end a job."""

from __future__ import annotations

import click

from workers.commands.job_words import broker_option, client_for, say


@click.command(
    epilog="""\b
Examples:
  pixelmill cancel 20261124-101500-1a2b3c4d
  pixelmill cancel 20261124-101500-1a2b3c4d --json

\b
Exit status: 0 cancelled, 1 it had ended already, or there is no such job.
"""
)
@click.argument("job")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print the last status as JSON.")
def cancel(job: str, broker: str | None, as_json: bool) -> int:
    """End JOB: no further image is begun, those in work are finished, and what is done stands in its output folder."""
    status = client_for(broker).cancel(job)
    if as_json:
        import json

        click.echo(json.dumps(status.to_json(), indent=2))
    else:
        click.echo(say(status))
    return 0 if status.state == "cancelled" else 1
