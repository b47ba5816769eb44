"""The options that say what a job is, the same for `run` and `submit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from workers.job_request import Request

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("pipeline"),
    click.argument("src"),
    click.option("--out", "output", required=True, type=click.Path(path_type=Path), help="Folder for the results."),
    click.option(
        "--model", metavar="NAME|FILE", help="Model to run; default: the pipeline's own (`pixelmill models`)."
    ),
    click.option("--instances", is_flag=True, help="segment: a mask an object, as the pipeline `instances`."),
    click.option("--top-k", type=int, help="classify: how many labels.  [default: 5]"),
    click.option(
        "--score", type=float, help="detect, instances, rcnn: least score of a detection.  [default: the model's]"
    ),
    click.option(
        "--iou", type=float, help="detect, instances: overlap above which the weaker of two boxes is dropped."
    ),
    click.option("--max-detections", type=int, help="detect, instances: most detections in one picture."),
    click.option(
        "--class",
        "classes",
        multiple=True,
        metavar="NAME",
        help="detect, instances, segment: only this class; may be repeated.",
    ),
    click.option(
        "--mask-threshold", type=float, help="instances: least probability of a mask's pixel.  [default: 0.5]"
    ),
    click.option(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="detect, instances, segment: run larger pictures in overlapping tiles of so many pixels.",
    ),
    click.option(
        "--tile-overlap", type=float, help="With --tile: share of a tile the next one covers too.  [default: 0.2]"
    ),
    click.option(
        "--effect",
        type=click.Choice(["blur", "replace", "cutout"]),
        help="portrait: what becomes of the background.  [default: blur, or replace with --background]",
    ),
    click.option("--background", metavar="#RRGGBB|FILE", help="portrait: colour or picture behind people."),
    click.option(
        "--blur", type=float, metavar="PERCENT", help="portrait: radius, of the picture's longer side.  [default: 2]"
    ),
    click.option(
        "--feather",
        type=float,
        metavar="PERCENT",
        help="portrait: widen the soft edge, by this of the longer side.  [default: 0]",
    ),
    click.option(
        "--confirm/--no-confirm",
        default=None,
        help="portrait: leave a picture as it is in which a detector finds nobody.  [default: confirm]",
    ),
    click.option(
        "--labels",
        type=click.Choice(["model", "imagenet"]),
        help="rcnn: the model's own labels, or ImageNet's 1,000 for any photograph.  [default: model]",
    ),
    click.option(
        "--regions",
        type=click.Choice(["auto", "selective-search", "detector"]),
        help="rcnn: what proposes regions.  [default: selective-search, with --labels imagenet the detector]",
    ),
    click.option("--proposals", type=int, help="rcnn: most regions of a picture.  [default: 2000]"),
    click.option(
        "--strategy",
        type=click.Choice(["single", "fast", "quality"]),
        help="rcnn: 1, 8 or 80 hierarchies of selective search.  [default: fast]",
    ),
    click.option("--strength", type=float, help="stylize: how much of the style, 0 to 1.  [default: 1]"),
    click.option(
        "--original-colours",
        is_flag=True,
        default=None,
        help="stylize: keep the picture's colours, take light and shade from the style.",
    ),
    click.option(
        "--overlays/--no-overlays", default=True, show_default=True, help="Draw every picture with its results."
    ),
    click.option(
        "--format",
        "formats",
        multiple=True,
        metavar="NAME[,NAME…]",
        help="Write the results as jsonl (always), coco, coco-polygons, yolo, voc, labelme, masks, csv, parquet, "
        "overlays; may be repeated. On a finished folder only the files are written.  [default: coco for boxes and "
        "masks]",
    ),
    click.option(
        "--deadline",
        metavar="WHEN",
        help="End the job then, with what is done: 90s, 30m, 2h, 1d from now, or a time as 2026-11-24T18:00+01:00.",
    ),
    click.option("--force", is_flag=True, help="Run all images again and replace earlier results."),
    click.option(
        "--provider",
        type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
        default="auto",
        show_default=True,
        help="Execution provider; strict unless --allow-fallback.",
    ),
    click.option("--allow-fallback", is_flag=True, help="Let another provider serve if the one asked for does not."),
)
# what is no parameter of the pipeline
_OWN = (
    "pipeline", "instances", "src", "output", "model", "overlays", "formats", "force", "provider", "allow_fallback",
    "deadline",
)  # fmt: skip


def job_options(command: F) -> F:
    """Give a command the arguments and options that say what a job is; `request_from` understands them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_from(options: dict[str, Any], **more: Any) -> Request:
    """Turn the values of `job_options` into a request. more: further fields of it."""
    from workers.deadline import parse_deadline
    from workers.job_request import Request

    params = {name: value for name, value in options.items() if name not in _OWN and value not in (None, ())}
    pipeline = options["pipeline"]
    if options["instances"] and pipeline not in ("segment", "instances"):
        raise click.UsageError(f"--instances belongs to the pipeline segment, not to {pipeline}")
    return Request(
        pipeline="instances" if options["instances"] else pipeline,
        source=options["src"],
        output=options["output"],
        model=options["model"],
        params=params,
        overlays=options["overlays"],
        force=options["force"],
        provider=options["provider"],
        allow_fallback=options["allow_fallback"],
        formats=options["formats"] or None,
        deadline=parse_deadline(options["deadline"]) if options["deadline"] else None,
        **more,
    )
