"""How a pool process died, as its parent sees it: written down beside the shard before the message is given back.

Runs in the worker's parent. Only it can know: the child is dead, and the next attempt may be on another machine.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from pydantic import ValidationError

from workers import metrics
from workers.app import TASK_CLOSE
from workers.errors import BrokerError
from workers.fitness import Reports
from workers.jobs import Close, Shard, process_of_attempt
from workers.journal import journal_folder
from workers.loaded import process_name
from workers.publish import publish
from workers.queues import queue_for_again
from workers.settings import settings

if TYPE_CHECKING:
    from workers.store import JobStore

log = logging.getLogger(__name__)

_STATUS = re.compile(r"prematurely: (.*?)(?: Job: \d+)?\.?$")


class Parent:
    """What the worker's parent process holds for its requests."""

    store: JobStore | None = None


class ShardRequest(Request):  # type: ignore[misc]
    """A shard's message in this worker."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The pool process was killed at the hard limit: say so, and give the shard out again."""
        message = None if soft else self._note(f"exceeded the hard limit of {timeout:g} s for a shard")
        super().on_timeout(soft, timeout)
        if message is not None:  # Celery takes a message that ran out of time for done
            try:
                publish(self.task.app, queue_for_again(settings().queue, message), message, patience=0)
            except BrokerError:
                log.exception("a shard is not given out again now; the sweep will find it")

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The pool process is gone, or the task raised."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            self._note(describe_exit(str(error)))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _note(self, cause: str) -> str | None:
        """Write down what ended the attempt, and end its lease; gives the shard's message if there was one."""
        if Parent.store is None:
            return None
        try:
            kind = Close if self.name == TASK_CLOSE else Shard
            shard = kind.model_validate(self.args[0])
            attempt = Parent.store.holder(shard.spec.job, shard.key)
            if attempt is None or process_of_attempt(attempt) != self.worker_pid:
                return None  # it died before it took its lease, or after it had lost it
            about = {"job": shard.spec.job, "shard": shard.key}
            log.warning("shard %s of job %s: its process was %s", shard.key, shard.spec.job, cause, extra=about)
            metrics.process_died(cause)
            Parent.store.note_death(shard.spec.job, shard.key, attempt, cause)
            if isinstance(shard, Shard) and not _has_journal(shard, attempt):
                reason = f"a process was {cause} while it loaded model {shard.spec.model}"
                Reports(Parent.store, settings().queue).failed(process_name(os.getpid()), shard.spec.job, reason)
            return Parent.store.take_back(shard.spec.job, shard.key, attempt)
        except (ValidationError, LookupError, TypeError):
            return None  # none of ours
        except redis.RedisError:
            log.exception("the store is away; the lease will run out")
            return None


def _has_journal(shard: Shard, attempt: str) -> bool:
    """Whether an attempt came as far as its images."""
    name = f"{shard.key}.{attempt.rpartition(':')[2]}.jsonl"
    return (journal_folder(Path(shard.spec.output), shard.spec.job) / name).exists()


def describe_exit(status: str) -> str:
    """Say what ended a process, from Celery's words: "killed by signal 11 (SIGSEGV)", "ended with exit status 1"."""
    found = _STATUS.search(status)
    words = found[1] if found else status
    if words.startswith("signal"):
        return f"killed by {words}"
    return f"ended with {words.replace('exitcode', 'exit status')}"
