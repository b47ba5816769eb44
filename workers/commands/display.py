"""How a job's progress is shown in a terminal, and where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.status import View


class Display:
    """A progress bar on a terminal, a line every ten seconds elsewhere, nothing if
    quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> Callable[[View], None]:
        if self._quiet:
            return lambda view: None
        if not sys.stderr.isatty():
            return _plain_lines()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[failed]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        task = self._bar.add_task("starting", total=None, rate="", failed="")
        began: list[float] = []

        def refresh(view: View) -> None:
            if view.done and not began:
                began.append(time.monotonic())
            elapsed = time.monotonic() - began[0] if began else 0
            self._bar.update(
                task,
                description=f"{view.phase}, {view.steps}" if view.steps else view.phase,
                total=view.total,
                completed=view.skipped + view.done,
                rate=f"{view.done / elapsed:.1f} images/s" if elapsed > 0.5 else "",
                failed=f"[red]{view.failed} failed[/red]" if view.failed else "",
            )

        return refresh

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _plain_lines() -> Callable[[View], None]:
    last = [time.monotonic()]
    told: set[str] = set()

    def refresh(view: View) -> None:
        waits = view.phase.startswith("waiting") and view.phase not in told
        if waits or time.monotonic() - last[0] >= 10:
            told.add(view.phase)
            last[0] = time.monotonic()
            steps = f", {view.steps}" if view.steps else ""
            total = f" of {view.total:,}" if view.total is not None else ""
            done = f"{view.skipped + view.done:,}{total} done"
            click.echo(f"{view.phase}: {done}, {view.failed:,} failed{steps}", err=True)

    return refresh
