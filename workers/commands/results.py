"""`pixelmill results`: a job's results as JSON Lines, while it runs."""

from __future__ import annotations

import json
import os
import sys

import click

from workers.commands.job_words import broker_option, client_for


@click.command(
    epilog="""\b
Examples:
  pixelmill results 20261124-101500-1a2b3c4d
  pixelmill results 20261124-101500-1a2b3c4d | jq -r 'select(.status == "failed") | .image'
  pixelmill results 20261124-101500-1a2b3c4d --timeout 60 > so-far.jsonl

\b
One line an image as soon as it is done, and an end when the job has ended. Ctrl-C ends the reading; the job goes on.
Exit status: 0 the job has ended, 1 it failed, or still runs after --timeout, 130 Ctrl-C.
"""
)
@click.argument("job")
@broker_option
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Read no longer than this.")
def results(job: str, broker: str | None, timeout: float | None) -> int:
    """Print every result of JOB as a line of JSON, as it comes; needs to see the job's output folder."""
    client = client_for(broker)
    try:
        for line in client.results(job, timeout):
            click.echo(json.dumps(line, ensure_ascii=True, separators=(",", ":")))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
