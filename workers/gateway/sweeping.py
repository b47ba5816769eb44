"""Old jobs' folders, removed: uploads and results of jobs that ended longer ago than the operator wants to keep them.

A job that runs is never touched. Whether it does, the service says, and a folder is removed only while it is held as a
job holds it that begins there, so that nothing can begin in between. A job the service has forgotten has not been at
work for a week, or its store was lost; then the folder's own times tell how old it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

from workers.client import Client
from workers.errors import JobError, OutputError, UnknownJobError
from workers.gateway.problems import Problem
from workers.gateway.records import Records
from workers.output import claim_output, remembered

log = logging.getLogger(__name__)

_LONGEST_PAUSE, _SHORTEST_PAUSE = 3600.0, 1.0  # seconds between two sweeps; a tenth of what is kept, within these


def sweep(records: Records, client: Client, keep_seconds: float) -> int:
    """Remove what is older; returns how many folders were. Raises JobError if the service does not answer."""
    removed = 0
    for ticket, jobs in records.tickets().items():
        folder = records.folder(ticket)
        # asked before it is held too: to hold it is a change, and it would look young for as long again
        if _newest(folder) > time.time() - keep_seconds or not _are_over(records, client, ticket, jobs, keep_seconds):
            continue
        try:
            with records.held(ticket), claim_output(folder / "results"):
                if _are_over(records, client, ticket, jobs, keep_seconds):
                    records.remove(ticket, jobs)
                    removed += 1
        except (Problem, OutputError) as error:  # a request is at it, or a job
            log.info("folder %s stays for the moment: %s", ticket, error)
        except OSError as error:
            log.warning("folder %s of an old job can't be removed: %s", folder, error)
    return removed


def _are_over(records: Records, client: Client, ticket: str, jobs: list[str], keep_seconds: float) -> bool:
    """Whether every job of a folder ended so long ago, as far as the service knows it."""
    for job in {*jobs, *_latest(records, ticket)}:
        try:
            status = client.status(job)
        except UnknownJobError:
            continue
        if not status.has_ended:
            return False
        if status.ended and datetime.fromisoformat(status.ended).timestamp() > time.time() - keep_seconds:
            return False
    return True


def _latest(records: Records, ticket: str) -> Iterator[str]:
    """The job last noted for a folder, and the one that wrote into it last, whose record may not have come to be."""
    record = records.of_ticket(ticket)
    if record is not None:
        yield record.job
    job = ((remembered(records.folder(ticket) / "results") or {}).get("spec") or {}).get("job")
    if isinstance(job, str):
        yield job


def _newest(folder: Path) -> float:
    """When something in a job's folder last changed, as far as its first levels tell; 0 if it is gone."""
    times = [0.0]
    for path in (folder, *folder.glob("*"), *folder.glob("results/*")):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def start_sweeping(records: Records, client: Client, keep_seconds: float) -> Event:
    """Sweep now and then in a thread; set the event that is given back to end it."""
    stop = Event()
    pause = max(_SHORTEST_PAUSE, min(_LONGEST_PAUSE, keep_seconds / 10))

    def run() -> None:
        while not stop.wait(pause):
            try:
                if removed := sweep(records, client, keep_seconds):
                    log.info("%d folders of old jobs are removed", removed)
            except (JobError, OSError) as error:
                log.warning("old jobs can't be removed at the moment: %s", error)

    Thread(target=run, name="sweeping", daemon=True).start()
    return stop
