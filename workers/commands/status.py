"""`pixelmill status`: how a job is, or how the service is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from workers.commands.job_words import broker_option, client_for, images, reasons, say

if TYPE_CHECKING:
    from workers.service_status import ServiceStatus


_BARS = "▁▂▃▄▅▆▇█"


@click.command(
    epilog="""\b
Examples:
  pixelmill status
  pixelmill status 20261124-101500-1a2b3c4d
  pixelmill status 20261124-101500-1a2b3c4d --json

\b
States: pending, running, done, done with failures, failed, cancelled, dead.
"""
)
@click.argument("job", required=False)
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(job: str | None, broker: str | None, as_json: bool) -> None:
    """Say how JOB is; without one, how the service is: its broker, its workers, what waits, what runs, what failed."""
    client = client_for(broker)
    if job is not None:
        found = client.status(job)
        click.echo(json.dumps(found.to_json(), indent=2) if as_json else say(found))
    else:
        service = client.service()
        click.echo(json.dumps(service.to_json(), indent=2) if as_json else _say_service(service))


def bars(counts: Sequence[int]) -> str:
    """Numbers as a row of bars, one character each, as high as their share of the largest; empty for zeros alone."""
    most = max(counts, default=0)
    return "".join(" " if not n else _BARS[(n * len(_BARS) - 1) // most] for n in counts) if most else ""


def _say_service(service: ServiceStatus) -> str:
    lines = [f"broker   {service.broker}, {service.server}, {service.memory_mb:.1f} MB"]
    for worker in service.workers:
        why = (
            f"it has taken itself out: {worker.unfit}" if worker.unfit else f"silent for {worker.silent_seconds:.0f} s"
        )
        ready = "ready" if worker.ready else f"not ready: {why}"
        at_work = f"{worker.busy} of {worker.processes} processes at work, {worker.memory_mb:.0f} MB"
        lines.append(f"worker   {worker.name}: {at_work}, {ready}")
        for model in worker.loaded:
            serves = f"{model.pipeline} with {model.model}, {model.provider}"
            lines.append(f"         {serves}, in {model.processes} process{'es' if model.processes > 1 else ''}")
    if not service.workers:
        lines.append("worker   none: `pixelmill worker` starts one")
    oldest = {name: f" (oldest {seconds:.0f} s)" for name, seconds in service.oldest_seconds.items()}
    waiting = [f"{depth:,} {name}{oldest.get(name, '')}" for name, depth in service.waiting.items()]
    lines.append(f"queue    {service.queue}: shards waiting: {', '.join(waiting)}")
    lines += [f"job      {job.job}  {job.state}, {job.pipeline}: {images(job)}" for job in service.running]
    if not service.running:
        lines.append("job      none runs")
    lines.append(f"speed    {service.images_per_second:.1f} images/s over the running jobs")
    hour = service.finished_by_minute
    lines.append(f"hour     {sum(hour):,} images, at most {max(hour):,} a minute  {bars(hour)}".rstrip())
    failed = reasons(service.failed_by_code) or "none"
    lines.append(f"failed   {failed}, in the last {service.jobs_counted:,} jobs")
    return "\n".join(lines)
