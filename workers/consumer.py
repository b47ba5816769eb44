"""The worker's parent: its consume loop tells that it lives, sweeps for its peers, and puts aside what is no message.

All of it runs as timers of the loop that takes the messages, in the main thread. So a worker whose loop stands still
stops telling that it is ready, and no thread holds a lock while the pool forks.
"""

from __future__ import annotations

import json
import logging
import os
import time
from functools import partial
from typing import Any

import redis
from celery.bootsteps import StartStopStep
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from workers import transport
from workers.deadletters import DeadLetters
from workers.depth import Depth
from workers.errors import BrokerError
from workers.fitness import Fitness, Reports
from workers.holding import GIVE_BACK_SECONDS, LONGEST_SECONDS, Holding
from workers.limits import resident_bytes
from workers.loaded import process_name
from workers.optimising import lanes_served
from workers.queues import is_rabbitmq, is_redis, queues_of
from workers.request import Parent
from workers.roll import Pulse, Roll, Worker
from workers.settings import settings
from workers.shape import trouble_with_shape
from workers.store import JobStore
from workers.sweep import SWEEP_SECONDS, Sweeper

log = logging.getLogger(__name__)

_STORE_SECONDS = 2.0  # the loop takes no message while it waits for the store
_HEARTBEAT_SECONDS = 2  # RabbitMQ gives away what a worker has that was silent for two to three of them


# what Celery raises, and ends the worker with, over a body of another shape than it expects
_BAD_SHAPE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class ShardConsumer(Consumer):  # type: ignore[misc]
    """A consumer that puts aside what it can't read, and begins the most urgent message first whatever came first."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Celery's own without delayed delivery: 28 more queues in RabbitMQ; what is put off waits in our store."""

        default_steps = tuple(step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step))

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._holds = is_rabbitmq(settings().broker or "")
        self.holding = Holding(queues_of(settings().queue))
        if self._holds:
            options["amqheartbeat"] = _HEARTBEAT_SECONDS
        self._left: tuple[str, ...] = ()
        super().__init__(*arguments, **options)

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own, with pauses that grow to a few seconds and not to half a minute."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=0.5, interval_step=0.5, interval_max=3)
        return super().ensure_connected(conn)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Any:
        """Celery's own, behind a net; made again for every connection, and what the last one brought is void."""
        receive = super().create_task_handler(*arguments, **options)

        def receive_or_put_aside(message: Any) -> None:
            try:
                trouble = trouble_with_shape(message.headers, message.decode)
                if trouble is None:
                    receive(message)
            except _BAD_SHAPE as error:
                trouble = f"it has another shape than a task's message: {error}"
            if trouble is not None:
                put_aside(_text(message), trouble)
                message.reject_log_error(log, self.connection_errors)

        if not self._holds:
            return receive_or_put_aside
        self.holding = Holding(queues_of(settings().queue))
        self._receive = receive_or_put_aside

        def hold(message: Any) -> None:
            self.holding.put(message)
            self.begin_held()

        return hold

    def begin_held(self) -> None:
        """Begin what is held, as far as processes are free."""
        while len(self.holding) and len(worker_state.reserved_requests) < self.pool.num_processes:
            self._receive(self.holding.take())

    def give_back_held(self, seconds: float) -> None:
        """Return to the broker what has been held for so long."""
        for message in self.holding.take_older(seconds):
            message.reject_log_error(log, self.connection_errors, requeue=True)

    def leave_queues(self) -> None:
        """Take no messages any more, and return what is not begun."""
        self._left = tuple(self.app.amqp.queues.consume_from)
        for name in self._left:
            self.cancel_task_queue(name)
        self.give_back_held(0)

    def return_to_queues(self) -> None:
        """Take messages again."""
        for name in self._left:
            self.add_task_queue(name)
        transport.Watch.polled = time.monotonic()

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A body that is no JSON, or says it is something else."""
        put_aside(_text(message), f"its body can't be read: {exc}")
        message.ack()

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """No task in it."""
        put_aside(_text(message), "it names no task")
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task we don't have."""
        put_aside(_text(message), f"there is no task {exc}")
        message.reject_log_error(log, self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A message of a task, but not a valid one."""
        put_aside(_text(message), f"it is not valid: {exc}")
        super().on_invalid_task(body, message, exc)


def put_aside(text: str, cause: str) -> None:
    """Put what is no message to the dead letters; a log line if the store is away."""
    if Parent.store is None:
        return
    try:
        DeadLetters(Parent.store).add("message", "invalid", cause, message=text)
    except redis.RedisError:
        log.exception("a message that is none (%s) is dropped: %.200s", cause, text)


class Rounds(StartStopStep):  # type: ignore[misc]
    """What the loop does now and then."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        config = settings()
        url = config.store or config.broker
        assert config.broker is not None and url is not None  # noqa: S101 - a worker without a broker does not start
        Parent.store = JobStore(url, _STORE_SECONDS)
        transport.Watch.on_bad_message = put_aside
        is_list = is_redis(config.broker)
        lists = JobStore(config.broker, _STORE_SECONDS) if is_list else None
        depth = Depth(consumer.app, config.queue) if is_rabbitmq(config.broker) else None
        self._sweeper = Sweeper(consumer.app, Parent.store, config.queue, lists, depth)
        self._roll = Roll(Parent.store, config.queue)
        self._name = consumer.hostname
        self._fitness = Fitness(Reports(Parent.store, config.queue), process_name(os.getpid()))
        self._lanes = lanes_served(config)
        self._polls = is_list
        self._trouble = False

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Begin the rounds; Celery ends them when the connection is lost, and begins them again."""
        transport.Watch.polled = time.monotonic()
        pool = consumer.pool._pool
        # Celery waits 10 s in case the result of a dead child is still on its way. A shard that has ended can't begin
        # again, so there is nothing to wait for, and how the child died is known before anybody sweeps for it.
        pool.on_job_process_lost = lambda job, pid, exitcode: pool.mark_as_worker_lost(job, exitcode)
        hub.on_tick.add(consumer.begin_held)  # the loop has just heard from a process that became free
        hub.call_repeatedly(SWEEP_SECONDS, self._round, consumer)

    def stop(self, consumer: Any) -> None:
        """The worker ends, or its connection did: others take what it holds."""
        consumer.give_back_held(0)

    def _round(self, consumer: Any) -> None:
        consumer.pool.maintain_pool()  # Celery looks after dead children every 5 s
        about = self._about(consumer)
        Pulse.worker, Pulse.at = Worker.of(self._name, 0.0, about), time.monotonic()
        try:
            self._roll.answer(self._name, about)
            self._sweeper.sweep()
            others = [one for one in self._roll.workers() if one.name != self._name and one.is_ready]
            self._judge(consumer, others)
            self._share(consumer, others)
        except (redis.RedisError, BrokerError, OperationalError) as error:
            if not self._trouble:
                log.warning("the store can't be reached, no sweep for now: %s", error)
            self._trouble = True
        else:
            self._trouble = False

    def _judge(self, consumer: Any, others: list[Worker]) -> None:
        """Take this worker out if it fails where others manage, and bring it back."""
        change = self._fitness.look(other_is_ready=bool(others))
        if change == "leave":
            consumer.leave_queues()
        elif change == "return":
            consumer.return_to_queues()

    def _share(self, consumer: Any, others: list[Worker]) -> None:
        """Leave what is held to a worker that is free."""
        consumer.give_back_held(LONGEST_SECONDS)
        if len(consumer.holding) and any(one.busy < one.processes for one in others):
            consumer.give_back_held(GIVE_BACK_SECONDS)

    def _about(self, consumer: Any) -> dict[str, Any]:
        """What this worker says about itself; `idle_for`: seconds since it last looked into the queues while free."""
        processes = consumer.pool.num_processes
        busy = len(worker_state.reserved_requests)
        polls = self._polls and busy < processes and not self._fitness.reason
        unseen = time.monotonic() - transport.Watch.polled if polls else 0.0
        pids = [process.pid for process in consumer.pool._pool._pool]
        memory = sum(resident_bytes(pid) for pid in (*pids, "self"))
        return {
            "pid": os.getpid(),
            "queue": settings().queue,
            "processes": processes,
            "busy": busy,
            "held": len(consumer.holding),
            "optimises": "torch" in self._lanes,
            "idle_for": round(unseen, 1),
            "unfit": self._fitness.reason,
            "members": [process_name(pid) for pid in pids],
            "memory_mb": round(memory / 2**20, 1),
        }


def _text(message: Any) -> str:
    body = message.body if isinstance(message.body, str) else bytes(message.body or b"").decode("utf-8", "replace")
    return json.dumps({"headers": _printable(message.headers), "body": body[:10_000]}, default=repr)


def _printable(headers: Any) -> Any:
    return {str(key): headers[key] for key in list(headers)[:50]} if isinstance(headers, dict) else repr(headers)
