"""`pixelmill retry`: try a job's images again."""

from __future__ import annotations

import click

from workers.commands.job_words import broker_option, client_for


@click.command(
    epilog="""\b
Examples:
  pixelmill retry 20261124-101500-1a2b3c4d
  pixelmill retry 20261124-101500-1a2b3c4d --all
  pixelmill watch $(pixelmill retry 20261124-101500-1a2b3c4d)

\b
Prints the id of the new job. Exit status: 0 submitted, 1 the job has not ended, or there is nothing to try again.
"""
)
@click.argument("job")
@click.option("--all", "all_images", is_flag=True, help="All images of the job, not only those without a good result.")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print the new job's status as JSON instead of its id.")
def retry(job: str, all_images: bool, broker: str | None, as_json: bool) -> None:
    """Submit the images of JOB that failed, or that it did not come to, as a new job into the same folder."""
    client = client_for(broker)
    again = client.retry(job, only_failures=not all_images)
    if as_json:
        import json

        click.echo(json.dumps(client.status(again).to_json(), indent=2))
    else:
        click.echo(again)
