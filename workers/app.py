"""The Celery application: JSON only, one shard at a time, acknowledged when it is done.

Importing this loads Celery and nothing else: neither ONNX Runtime nor OpenCV nor NumPy, because the client and the
worker's parent process must stay light and fork clean children. Sessions are built in the children.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_ready, worker_shutdown

from workers import transport
from workers.process import die_with_parent
from workers.queues import is_rabbitmq, queues_of, quorum_queues
from workers.settings import settings

TASK_SHARD = "pixelmill.shard"
TASK_CLOSE = "pixelmill.close"


def make_app(broker: str | None = None) -> Celery:
    """Build the application for a broker; default: the one in the settings."""
    config = settings()
    transport.install()
    app = Celery("pixelmill", broker=broker or config.broker, include=["workers.tasks", "workers.picture_task"])
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        event_serializer="json",
        task_ignore_result=True,  # a job's state is kept by `store`, which knows images and not only messages
        task_default_queue=config.queue,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=config.shard_seconds,
        task_track_started=False,
        worker_prefetch_multiplier=1,
        worker_consumer="workers.consumer:ShardConsumer",
        worker_enable_prefetch_count_reduction=False,
        worker_proc_alive_timeout=60,
        worker_send_task_events=False,
        worker_hijack_root_logger=True,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": config.redelivery_seconds,
            "queue_order_strategy": "priority",  # the queues in the order they were named, not in turns
            "priority_steps": [0],
            "socket_connect_timeout": 3,
            "socket_timeout": 5,  # a server that accepts and does not answer is away
            "socket_keepalive": True,
            "health_check_interval": 15,
            "max_retries": 1,  # of each call; `publish` has its own patience
            "interval_start": 0,
            "interval_step": 0.5,
            "interval_max": 2,
        },
    )
    if is_rabbitmq(broker or config.broker or ""):
        app.conf.update(
            task_queues=quorum_queues(config.queue),
            # for each queue: as many as processes, and as many ahead, or the most urgent would not be here in time
            worker_prefetch_multiplier=2,
            broker_heartbeat=0,  # nobody answers for a producer's idle connection; consumers have their own
            broker_transport_options={
                "confirm_publish": True,
                "max_retries": 3,
                "interval_start": 0,
                "interval_step": 0.5,
                "interval_max": 2,
            },
        )
    return app


app = make_app()
_stewards: list[Event] = []
at_ready: list[Callable[[], None]] = []  # what else a worker's parent starts once its children are there


def worker_queues() -> str:
    """The queues a worker takes from, as Celery's command line wants them, the most urgent first."""
    from workers.optimising import lanes_served

    return ",".join(queues_of(settings().queue, lanes_served()))


def add_rounds() -> None:
    """Let this process's worker sweep and answer for itself; only a worker's parent needs what that imports."""
    from workers.consumer import Rounds

    app.steps["consumer"].add(Rounds)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _child_started(**_: Any) -> None:
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent:  # it died in between
        os._exit(1)
    from workers import tasks

    tasks.warm_up()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _worker_ready(**_: Any) -> None:
    # after the pool has forked its first children, so that they inherit no thread
    from workers.courier import start_courier
    from workers.steward import start_steward

    config = settings()
    assert config.broker is not None  # noqa: S101 - a worker without a broker does not start
    _stewards.append(start_steward(config.broker, config.store or config.broker, config.queue))
    _stewards.append(start_courier(config.store or config.broker, config.queue))
    for start in at_ready:
        start()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _worker_shutdown(**_: Any) -> None:
    while _stewards:
        _stewards.pop().set()
