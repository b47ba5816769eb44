"""`pixelmill submit`: give a job to the service and go."""

from __future__ import annotations

from typing import Any

import click

from workers.commands.job_options import job_options, request_from
from workers.commands.job_words import broker_option, client_for


@click.command(
    epilog="""\b
Examples:
  pixelmill submit detect photos/ --out results/
  pixelmill submit classify 'photos/**/*.jpg' --out labels/ --top-k 3 --priority bulk
  pixelmill watch $(pixelmill submit detect photos/ --out results/)
  pixelmill submit detect photos/ --out results/ --key photos-of-may --json

\b
Prints the job's id once the service has all there is to know of it; the client may end, the job goes on.
The same submission gives the same job. Exit status: 0 submitted, 1 refused, with the reason on standard error.
"""
)
@job_options
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "bulk"]),
    default="normal",
    show_default=True,
    help="Who goes first when there is more to do than workers.",
)
@click.option("--key", default="", help="Your own name for the job: the same key gives the same job.")
@click.option("--webhook", metavar="URL", default="", help="Tell this URL, signed, when the job has ended.")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print the job's status as JSON instead of its id.")
def submit(priority: str, key: str, webhook: str, broker: str | None, as_json: bool, **options: Any) -> None:
    """Submit the images of SRC (a file, a folder, a glob in quotes, or a .txt list) to PIPELINE, as a job of a service.

    SRC and --out must be where the workers see them too.
    """
    client = client_for(broker)
    job = client.submit_request(request_from(options, priority=priority, webhook=webhook), key)
    if as_json:
        import json

        click.echo(json.dumps(client.status(job).to_json(), indent=2))
    else:
        click.echo(job)
