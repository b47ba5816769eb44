"""`pixelmill worker`: a worker started by hand."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  PIXELMILL_BROKER=redis://:secret@queue:6379/0 pixelmill worker --root /data
  pixelmill worker --broker redis://localhost:6379/0 --processes 2 --threads 4
"""
)
@click.option("--broker", metavar="URL", help="Broker; default: PIXELMILL_BROKER.")
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder this worker may read and write below; may be given more than once. Default: PIXELMILL_ROOTS, else the "
    "current folder.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="Pool processes. Default: 2, or 1 on a single core.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Pictures in work at once in a process. Default: by cores."
)
@click.option(
    "--optimise",
    type=click.Choice(["auto", "yes", "no", "only"]),
    help="Take jobs that need PyTorch (`stylize --optimise`): auto where it is installed; only: nothing "
    "else, not even the last step of a job, so the service needs another worker too.",
)
@click.option("--provider", type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]), help="Execution provider.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve Prometheus metrics, /live and /ready on this port of PIXELMILL_METRICS_HOST; 0: on a free one.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How to log; json: an object a line.")
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True
)
def worker(
    broker: str | None,
    roots: tuple[Path, ...],
    processes: int | None,
    threads: int | None,
    optimise: str | None,
    provider: str | None,
    metrics_port: int | None,
    log_format: str | None,
    log_level: str,
) -> None:
    """Work on the shards of the queue until stopped (Ctrl-C or SIGTERM: the shards in work are finished first)."""
    given = {
        "PIXELMILL_BROKER": broker,
        "PIXELMILL_ROOTS": os.pathsep.join(str(root.resolve()) for root in roots) or None,
        "PIXELMILL_PROCESSES": processes and str(processes),
        "PIXELMILL_THREADS": threads and str(threads),
        "PIXELMILL_OPTIMISE": optimise,
        "PIXELMILL_PROVIDER": provider,
        "PIXELMILL_LOG_FORMAT": log_format,
        "PIXELMILL_METRICS_PORT": None if metrics_port is None else str(metrics_port),
    }
    os.environ.update({name: value for name, value in given.items() if value})

    from workers.errors import BrokerError
    from workers.settings import settings, without_password
    from workers.store import JobStore

    config = settings()
    if config.broker is None:
        raise BrokerError(
            "a worker needs a broker: set PIXELMILL_BROKER or give --broker, e.g. redis://localhost:6379/0 "
            "(`pixelmill run` brings its own)"
        )
    JobStore(config.store or config.broker).ping()

    from workers import logs
    from workers.app import add_rounds, app, at_ready, worker_queues
    from workers.tasks import processes_per_worker, threads_per_process

    where = ", ".join(map(str, config.allowed_roots))
    logs.early(
        f"worker on {without_password(config.broker)}, queue {config.queue!r}: {processes_per_worker()} processes × "
        f"{threads_per_process()} threads, folders {where}",
        config.log_format,
    )
    if config.optimise == "only":
        logs.early(
            "this worker takes nothing but shards that need PyTorch: another one has to draw up the jobs when their "
            "images are done, so start one with --optimise no",
            config.log_format,
        )
    if config.metrics_port is not None:
        from workers import metrics

        metrics.make_folder()
        from workers.exporter import Exporter  # it imports prometheus-client, which looks for that folder

        store_url = config.store or config.broker
        exporter = Exporter(config.metrics_host, config.metrics_port, store_url, config.queue)
        at_ready.append(exporter.start)
        logs.early(f"metrics on http://{config.metrics_host}:{exporter.port}/metrics", config.log_format)
    logs.install()
    add_rounds()
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={processes_per_worker()}",
            f"--loglevel={log_level}",
            f"--queues={worker_queues()}",
            "--without-gossip",
            "--without-mingle",
            "--heartbeat-interval=5",  # what Flower sees; without it, it could not switch on events of tasks either
            f"--hostname=pixelmill-{os.getpid()}@%h",
        ]
    )
