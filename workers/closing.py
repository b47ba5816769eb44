"""The end of a job: results merged, and drawn up for people and for other programs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

from pipelines.errors import PixelmillError
from workers.atomic import remove_temporaries
from workers.atomic_folder import remove_temporary_folders
from workers.formats import Stopped, formats_of, places, write_format
from workers.jobs import Close, new_attempt
from workers.journal import RESULTS, settle
from workers.lease import Tally, heart_beat, take_lease
from workers.manifest import remove_manifest
from workers.resume import note_closed
from workers.store import JobStore, State

log = logging.getLogger(__name__)

FATAL_CLOSINGS = 3  # attempts that died over a report


def close_job(message: Close, store: JobStore, *, lease_seconds: float) -> None:
    """Merge the journals, then write the job's formats, contact sheet and report; may be repeated.

    A report that can't be written does not unmake the results: the job ends as failed with its reason, and the same
    command tries again.
    """
    spec, attempt = message.spec, new_attempt()
    output = Path(spec.output)
    number = take_lease(store, spec.job, message.key, attempt, lease_seconds)
    if not number:
        return
    stop = Event()
    with heart_beat(store, spec.job, message.key, attempt, lease_seconds, Tally(), stop):
        state, reason = _draw_up(message, output, number, stop)
    if state is not None and store.beat(spec.job, message.key, attempt, lease_seconds, 0, 0) == "ok":
        store.end(spec.job, state, reason)  # before the message is done: a job without open shards must have ended
    store.finish(spec.job, message.key, attempt, 0, {})


def _draw_up(message: Close, output: Path, number: int, stop: Event) -> tuple[State | None, str | None]:
    """Do the work; give the state it leaves the job in, and why. None: somebody else has taken over, or ended it."""
    results = output / RESULTS
    if number > FATAL_CLOSINGS:
        return "failed", f"the worker died {number - 1} times while it drew up the report; the results are in {results}"
    try:
        if number > 1:
            for name in (RESULTS, "contact-sheet.jpg", "report.html"):
                remove_temporaries(output / name)
            for place in places(message.spec).values():
                remove_temporaries(place)
            remove_temporary_folders(output)
        settle(output)
        for step in _steps(message, output, stop):
            if stop.is_set():
                return None, None
            step()
    except Stopped:
        return None, None
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        return "failed", f"{error.filename or output}: {why}; the results so far are safe"
    except (PixelmillError, ValueError) as error:
        return "failed", str(error)
    except Exception as error:
        # a defect of ours: the results are merged, and another attempt would end in the same way
        log.exception("the report of job %s failed", message.spec.job)
        return "failed", f"the report could not be made ({type(error).__name__}: {error}); the results so far are safe"
    return "closed", None


def _steps(message: Close, output: Path, stop: Event) -> list[Callable[[], object]]:
    from workers.contact_sheet import write_contact_sheet
    from workers.report import write_report

    return [
        *(partial(write_format, name, message.spec, stop.is_set) for name in formats_of(message.spec)),
        lambda: write_contact_sheet(output, root=Path(message.spec.root)),
        lambda: write_report(output, message.summary),
        lambda: note_closed(message.spec),
        lambda: remove_manifest(output, message.spec.job),
    ]
