"""`pixelmill watch`: wait for a job, with a progress bar."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from workers.commands.display import Display
from workers.commands.job_words import broker_option, client_for, exit_status, images, say

if TYPE_CHECKING:
    from workers.status import Status


@click.command(
    epilog="""\b
Examples:
  pixelmill watch 20261124-101500-1a2b3c4d
  pixelmill watch $(pixelmill submit detect photos/ --out results/)
  pixelmill watch 20261124-101500-1a2b3c4d --timeout 60 --quiet --json

\b
Ctrl-C ends the watching; the job goes on.
Exit status: 0 all done, 3 done with failed images, 1 failed, cancelled or still running after --timeout, 130 Ctrl-C.
"""
)
@click.argument("job")
@broker_option
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--json", "as_json", is_flag=True, help="Print the last status as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def watch(job: str, broker: str | None, timeout: float | None, as_json: bool, quiet: bool) -> int:
    """Wait until JOB has ended, and say how; a broker that is started again is waited for too."""
    from workers.status import View

    client = client_for(broker)
    view = View()
    try:
        with Display(quiet) as refresh:

            def show(status: Status) -> None:
                if view.phase == "starting" and not quiet and not sys.stderr.isatty():
                    click.echo(f"{job}  {status.state}: {images(status)}", err=True)
                view.total, view.skipped = status.total, status.kept
                view.done, view.failed = status.finished - status.kept, status.failed
                view.phase = status.pipeline if status.state == "running" else status.state
                view.steps = status.steps or (status.trouble or "" if status.state == "pending" else "")
                refresh(view)

            status = client.wait(job, show, timeout)
    except KeyboardInterrupt:
        click.echo(f"the job goes on: `pixelmill watch {job}` again, `pixelmill cancel {job}` ends it", err=True)
        return 130
    if as_json:
        import json

        click.echo(json.dumps(status.to_json(), indent=2))
    else:
        click.echo(say(status))
    return exit_status(status)
