"""The options that say what a job is, the same for `run` and `submit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipelines.optimisers import PIPELINE as OPTIMISE
from pipelines.style_pictures import split_weight

if TYPE_CHECKING:
    from workers.folder import Source
    from workers.job_request import Request

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("pipeline"),
    click.argument("src", required=False),
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
        help="detect, instances, segment: only this class; generate: make only this one; may be repeated.",
    ),
    click.option(
        "--mask-threshold", type=float, help="instances: least probability of a mask's pixel.  [default: 0.5]"
    ),
    click.option(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="Run larger pictures in tiles of so many pixels.  [default: 0, not at all; stylize: 1024]",
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
        help="portrait: let a detector find the persons first, and nothing be cut out if there are none.  "
        "[default: confirm]",
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
        "--optimise", is_flag=True, help="stylize: paint step by step in your own styles, as the pipeline `optimise`."
    ),
    click.option(
        "--style",
        "styles",
        multiple=True,
        metavar="FILE[:WEIGHT]",
        help="stylize --optimise: a picture whose style to take; may be repeated.",
    ),
    click.option("--steps", type=int, help="stylize --optimise: how many.  [default: 300]"),
    click.option("--keep-every", type=int, metavar="N", help="stylize --optimise: keep a picture every N steps."),
    click.option(
        "--size", type=int, metavar="PIXELS", help="stylize --optimise: longer side of the work.  [default: 512]"
    ),
    click.option(
        "--enlarge", is_flag=True, default=None, help="stylize --optimise: enlarge it to the picture's own size."
    ),
    click.option("--style-weight", type=float, help="stylize --optimise: how much the styles count.  [default: 300]"),
    click.option("--style-scale", type=float, help="stylize --optimise: size of the strokes.  [default: 1]"),
    click.option("--smoothness", type=float, help="stylize --optimise: what noise costs.  [default: 1000]"),
    click.option(
        "--optimiser", type=click.Choice(["lbfgs", "adam"]), help="stylize --optimise: which.  [default: lbfgs]"
    ),
    click.option(
        "--start",
        type=click.Choice(["content", "noise"]),
        help="stylize --optimise: begin with the picture, or with noise from --seed.  [default: content]",
    ),
    click.option("--count", type=int, help="generate: how many pictures.  [default: 1]"),
    click.option("--seed", type=int, help="generate: seed of the first picture; the next has one more.  [default: 0]"),
    click.option("--truncation", type=float, help="generate: cut the noise off here; less is more usual."),
    click.option("--strip", type=int, metavar="FRAMES", help="generate: a film strip from each seed to the next one."),
    click.option(
        "--judge", is_flag=True, default=None, help="generate: how real each picture looks to the discriminator."
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
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        metavar="N",
        help="At most so many processes work on the job at once.  [default: all there are]",
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
    "deadline", "concurrency", "count", "seed", "optimise", "styles",
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
    if options["optimise"] or pipeline == OPTIMISE:
        pipeline = _optimise(options, params)
    elif options["styles"]:
        raise click.UsageError(f"--style belongs to stylize --optimise, not to {pipeline}")
    if options["instances"] and pipeline not in ("segment", "instances"):
        raise click.UsageError(f"--instances belongs to the pipeline segment, not to {pipeline}")
    source, images = _input(options)
    return Request(
        pipeline="instances" if options["instances"] else pipeline,
        source=source,
        images=images,
        output=options["output"],
        model=options["model"],
        params=params,
        overlays=options["overlays"],
        force=options["force"],
        provider=options["provider"],
        allow_fallback=options["allow_fallback"],
        formats=options["formats"] or None,
        deadline=parse_deadline(options["deadline"]) if options["deadline"] else None,
        concurrency=options["concurrency"],
        **more,
    )


def _optimise(options: dict[str, Any], params: dict[str, Any]) -> str:
    """Put what only `stylize --optimise` understands into the parameters; gives the pipeline's name."""
    if options["pipeline"] not in ("stylize", OPTIMISE):
        raise click.UsageError(f"--optimise belongs to the pipeline stylize, not to {options['pipeline']}")
    if options["styles"]:
        params["styles"], params["style_weights"] = zip(*map(split_weight, options["styles"]), strict=True)
    if options["seed"] is not None:
        params["seed"] = options.pop("seed")
        options["seed"] = None
    return OPTIMISE


def _input(options: dict[str, Any]) -> tuple[str, Source | None]:
    """What a job is about, as its user said it: SRC, or so many seeds for the pipeline that needs no picture."""
    from workers.inputs import gather
    from workers.jobs import SEEDED
    from workers.seeds import check_input, said, seeds
    from workers.settings import settings

    pipeline, src, count, seed = (options[name] for name in ("pipeline", "src", "count", "seed"))
    if src is None and (pipeline == SEEDED or count is not None or seed is not None):
        numbers = seeds(1 if count is None else count, seed or 0)
        check_input(pipeline, numbers)
        return said(numbers), numbers
    if src is None:
        raise click.UsageError("Missing argument 'SRC': an image, a folder, a glob in quotes or a list file")
    if pipeline == SEEDED:
        check_input(pipeline, None)
    if count is not None or seed is not None:
        raise click.UsageError(f"--count and --seed belong to {SEEDED}, which takes no SRC")
    return gather(src, options["output"], settings())
