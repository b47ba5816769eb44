"""`pixelmill run`: a file, a folder, a glob or a list file through the queue, to results."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.runner import Outcome, View


@click.command(
    epilog="""\b
Examples:
  pixelmill run detect photos/ --out results/
  pixelmill run detect photos/ --out cats/ --score 0.5 --class cat --class dog
  pixelmill run classify 'photos/**/*.jpg' --out labels/ --top-k 3
  pixelmill run classify list.txt --out labels/ --no-overlays --json
  pixelmill run detect photos/ --out yolo/ --model my-yolo.onnx
  pixelmill run detect photos/ --out results/ --format yolo,voc,csv

\b
Run the same command again to continue after an interruption; finished images are not run twice.
Exit status: 0 all done, 3 finished with failed images, 1 could not run, 130 interrupted.
"""
)
@click.argument("pipeline")
@click.argument("src")
@click.option("--out", "output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--model", metavar="NAME|FILE", help="Model to run; default: the pipeline's own (`pixelmill models`).")
@click.option("--top-k", type=int, help="classify: how many labels.  [default: 5]")
@click.option("--score", type=float, help="detect: least score of a detection.  [default: the model's]")
@click.option("--iou", type=float, help="detect: overlap above which the weaker of two boxes is dropped.")
@click.option("--max-detections", type=int, help="detect: most detections in one picture.")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="detect: only this class; may be repeated.")
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Draw every picture with its results.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[,NAME…]",
    help="Write the results as jsonl (always), coco, coco-polygons, yolo, voc, labelme, masks, csv, parquet, overlays; "
    "may be repeated. On a finished folder only the files are written.  [default: coco for boxes and masks]",
)
@click.option("--force", is_flag=True, help="Run all images again and replace earlier results.")
@click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="Execution provider; strict unless --allow-fallback.",
)
@click.option("--allow-fallback", is_flag=True, help="Let another provider serve if the one asked for does not.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def run(
    pipeline: str,
    src: str,
    output: Path,
    model: str | None,
    overlays: bool,
    formats: tuple[str, ...],
    force: bool,
    provider: str,
    allow_fallback: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Take the images of SRC (a file, a folder, a glob in quotes, or a .txt list) through PIPELINE.

    Without PIXELMILL_BROKER a broker and a worker start on this machine and end with the command; with it, the running
    service does the work.
    """
    from workers.job_request import Request
    from workers.runner import View
    from workers.runner import run as run_job

    params = {name: value for name, value in options.items() if value not in (None, ())}
    request = Request(
        pipeline=pipeline,
        source=src,
        output=output,
        model=model,
        params=params,
        overlays=overlays,
        force=force,
        provider=provider,  # type: ignore[arg-type]  # click has checked it
        allow_fallback=allow_fallback,
        formats=formats or None,
    )
    view = View()
    with _display(quiet) as refresh:
        outcome = run_job(request, view, refresh)
    if as_json:
        import json

        click.echo(json.dumps(summary_json(outcome), indent=2))
    else:
        _print_summary(outcome)
    if outcome.interrupted:
        return 130
    return 3 if outcome.totals.failed else 0


def summary_json(outcome: Outcome) -> dict[str, Any]:
    """The summary for scripts."""
    from workers.artefacts import FOLDERS
    from workers.formats import places

    output = Path(outcome.spec.output)
    formats = [place.relative_to(output).as_posix() for place in places(outcome.spec).values()]
    files = {
        name: str(output / name)
        for name in ("results.jsonl", *formats, *FOLDERS, "contact-sheet.jpg", "report.html")
        if (output / name).exists()
    }
    return {
        "pipeline": outcome.spec.pipeline,
        "model": {"name": outcome.spec.model_name, "sha256": outcome.spec.model_sha256},
        "params": outcome.spec.params,
        "provider": outcome.provider,
        "done": outcome.totals.ok,
        "failed": outcome.totals.failed,
        "failed_by_code": dict(outcome.totals.failed_by_code),
        "ran": outcome.ran,
        "finished_before": outcome.skipped,
        "seconds": round(outcome.seconds, 3),
        "images_per_second": round(outcome.images_per_second, 2),
        "steady_images_per_second": round(steady, 2) if (steady := outcome.steady_images_per_second) else None,
        "first_result_seconds": round(outcome.first_result_seconds, 3) if outcome.first_result_seconds else None,
        "interrupted": outcome.interrupted,
        "output": str(output),
        "files": files,
    }


def _print_summary(outcome: Outcome) -> None:
    summary = summary_json(outcome)
    lines = [f"{outcome.spec.pipeline} with {outcome.spec.model_name}: {summary['done']:,} done"]
    if outcome.totals.failed:
        reasons = ", ".join(f"{count} {code}" for code, count in sorted(outcome.totals.failed_by_code.items()))
        lines[0] += f", {outcome.totals.failed:,} failed ({reasons})"
    if outcome.skipped:
        lines.append(f"{outcome.skipped:,} of them were finished by an earlier run")
    if outcome.ran:
        lines.append(
            f"{outcome.ran:,} images in {outcome.seconds:.1f} s, {outcome.images_per_second:.1f} images/s, "
            f"on {outcome.provider}"
        )
    if outcome.interrupted:
        lines.append("interrupted: what is done is kept, the same command continues")
    width = max((len(name) for name in summary["files"]), default=0)
    lines += [f"  {name:<{width}}  {path}" for name, path in summary["files"].items()]
    click.echo("\n".join(lines))


class _display:  # noqa: N801 - reads as a verb: with _display(quiet) as refresh
    """A progress bar on a terminal, a line every ten seconds elsewhere, nothing when quiet."""

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
                description=view.phase,
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
            total = f" of {view.total:,}" if view.total is not None else ""
            click.echo(f"{view.phase}: {view.skipped + view.done:,}{total} done, {view.failed:,} failed", err=True)

    return refresh
