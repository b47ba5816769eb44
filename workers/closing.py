"""The end of a job: results merged, and drawn up for people and for other programs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event

from pipelines.errors import PixelmillError
from workers.atomic import remove_temporaries
from workers.atomic_folder import remove_temporary_folders
from workers.earlier import FATAL_VANISHINGS
from workers.formats import Stopped, formats_of, places, write_format
from workers.jobs import Close, new_attempt
from workers.journal import RESULTS, settle
from workers.lease import Tally, heart_beat, take_lease
from workers.manifest import remove_manifest
from workers.resume import note_closed
from workers.seam import State, Store
from workers.trouble import can_pass, let_rest

log = logging.getLogger(__name__)

FATAL_CLOSINGS = 3  # processes that are known to have died over a report


def close_job(message: Close, store: Store, *, lease_seconds: float) -> None:
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
    deaths = store.deaths(spec.job, message.key)
    with heart_beat(store, spec.job, message.key, attempt, lease_seconds, Tally(), stop):
        state, reason, passes = _draw_up(message, output, number, deaths, stop)
    if passes and reason and let_rest(store, spec, message.key, attempt, reason, number - 1):
        return
    if state is not None and store.beat(spec.job, message.key, attempt, lease_seconds, 0, 0) == "ok":
        store.end(spec.job, state, reason)  # before the message is done: a job without open shards must have ended
    store.finish(spec.job, message.key, attempt, 0, {})


def _draw_up(
    message: Close, output: Path, number: int, deaths: Mapping[str, str], stop: Event
) -> tuple[State | None, str | None, bool]:
    """Do the work; give the state it leaves the job in, why, and whether the reason can pass.

    None: somebody else has taken over, or ended it.
    """
    results = output / RESULTS
    if len(deaths) >= FATAL_CLOSINGS or number > FATAL_VANISHINGS:
        died = f"the worker died {max(len(deaths), 1)} times while it drew up the report"
        return "failed", f"{died} ({', '.join(set(deaths.values()))}); the results are in {results}", False
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
                return None, None, False
            step()
    except Stopped:
        return None, None, False
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        return "failed", f"{error.filename or output}: {why}; the results so far are safe", can_pass(error)
    except (PixelmillError, ValueError) as error:
        return "failed", str(error), can_pass(error)
    except Exception as error:
        # a defect of ours: the results are merged, and another attempt would end in the same way
        log.exception("the report of job %s failed", message.spec.job)
        said = f"the report could not be made ({type(error).__name__}: {error}); the results so far are safe"
        return "failed", said, False
    return "closed", None, False


def _steps(message: Close, output: Path, stop: Event) -> list[Callable[[], object]]:
    from pipelines.card import read_card
    from workers.contact_sheet import write_contact_sheet
    from workers.report import write_report

    return [
        *(partial(write_format, name, message.spec, stop.is_set) for name in formats_of(message.spec)),
        lambda: write_contact_sheet(output, root=Path(message.spec.root) if message.spec.root else None),
        lambda: write_report(output, {**message.summary, "names": read_card(Path(message.spec.model)).names}),
        lambda: note_closed(message.spec),
        lambda: remove_manifest(output, message.spec.job),
    ]
