"""`pixelmill run`: a file, a folder, a glob or a list file through the queue, to results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.commands.display import Display
from workers.commands.job_options import job_options, request_from

if TYPE_CHECKING:
    from workers.runner import Outcome


@click.command(
    epilog="""\b
Examples:
  pixelmill run detect photos/ --out results/
  pixelmill run detect photos/ --out cats/ --score 0.5 --class cat --class dog
  pixelmill run classify 'photos/**/*.jpg' --out labels/ --top-k 3
  pixelmill run classify list.txt --out labels/ --no-overlays --json
  pixelmill run detect photos/ --out yolo/ --model my-yolo.onnx
  pixelmill run detect photos/ --out results/ --format yolo,voc,csv
  pixelmill run detect maps/ --out results/ --tile 1024
  pixelmill run portrait photos/ --out cut/ --effect cutout
  pixelmill run portrait photos/ --out beach/ --background beach.jpg
  pixelmill run stylize photos/ --out painted/ --model wave.onnx --strength 0.7

\b
Run the same command again to continue after an interruption; finished images are not run twice.
Exit status: 0 all done, 3 finished with failed images, 1 could not run, 130 interrupted.
"""
)
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def run(as_json: bool, quiet: bool, **options: Any) -> int:
    """Take the images of SRC (a file, a folder, a glob in quotes, or a .txt list) through PIPELINE.

    Without PIXELMILL_BROKER a broker and a worker start on this machine and end with the command; with it, the running
    service does the work.
    """
    from workers.runner import run as run_job
    from workers.status import View

    request = request_from(options)
    view = View()
    with Display(quiet) as refresh:
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
