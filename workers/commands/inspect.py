"""`pixelmill inspect`: how the product sees a picture, what it would convert and why, or why it can't."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.headers import Header
    from pipelines.image import Limits
    from pipelines.types import Image

_TURNS = {
    1: "upright",
    2: "mirrored left to right",
    3: "upside down",
    4: "mirrored top to bottom",
    5: "mirrored and turned a quarter",
    6: "to be turned a quarter clockwise",
    7: "mirrored and turned a quarter",
    8: "to be turned a quarter anticlockwise",
}
# how a conversion's words begin → why it is made
_REASONS = (
    ("first of", "a result belongs to one picture, and the first is the one that viewers show"),
    ("grey to rgb", "models take three channels: the grey is repeated"),
    ("palette to rgb", "models take colours, not numbers of colours"),
    ("cmyk to rgb", "models take light, not ink"),
    ("16-bit to 8-bit", "models are trained on 8 bits: v / 257, rounded"),
    ("alpha over white", "models know no transparency"),
    ("exif orientation", "the camera noted how it was held: boxes are given in the upright picture"),
)
_PLANES_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@click.command(
    epilog="""\b
Examples:
  pixelmill inspect photo.jpg
  pixelmill inspect scans/*.tif --json
  pixelmill inspect photo.jpg --planes planes.png

\b
Exit status: 0 all can be read, 1 at least one can't.
"""
)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE [IMAGE…]", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object an image.")
@click.option(
    "--planes",
    "planes_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the picture and its R, G and B planes into FILE (.png, .jpg or .webp); for one image.",
)
def inspect(images: tuple[Path, ...], as_json: bool, planes_file: Path | None) -> int:
    """Say how Pixelmill sees each IMAGE: format, size, depth, channels, orientation, and what it would convert and why.

    Each image is decoded as a pipeline would decode it, under the same budgets (PIXELMILL_MAX_PIXELS,
    PIXELMILL_MAX_BYTES).
    """
    from pipelines.image import Limits
    from workers.settings import settings

    if planes_file is not None and len(images) > 1:
        raise click.UsageError(f"--planes draws one image, {len(images)} were given")
    if planes_file is not None and planes_file.suffix.lower() not in _PLANES_SUFFIXES:
        raise click.UsageError(f"--planes {planes_file}: the name must end in {', '.join(_PLANES_SUFFIXES)}")
    config = settings()
    limits = Limits(config.max_pixels, config.max_bytes)
    reports = []
    for path in images:
        report, pixels = look_at(path, limits)
        if planes_file is not None and pixels is not None:
            _write_planes(pixels, path.name, planes_file)
            report["planes"] = str(planes_file)
        reports.append(report)
        if not as_json:
            click.echo(_as_text(report))
    if as_json:
        import json

        click.echo(json.dumps(reports, indent=2, ensure_ascii=False))
    return 1 if any("error" in report for report in reports) else 0


def look_at(path: Path, limits: Limits) -> tuple[dict[str, Any], Image | None]:
    """Read, probe and decode one file.

    Returns what was found out as JSON-ready data, with the key "error" if a pipeline would refuse it, and the decoded
    (H, W, 3) uint8 RGB pixels or None.
    """
    import time

    from pipelines.errors import ImageError
    from pipelines.image import decode, probe, read_bytes

    report: dict[str, Any] = {"image": str(path)}
    try:
        data = read_bytes(path, limits)
        report["bytes"] = len(data)
        header = probe(data)
        report.update(_facts(header), budgets=_budgets(header, len(data), limits))
        began = time.perf_counter()
        picture = decode(data, limits)
        report["decode_ms"] = round((time.perf_counter() - began) * 1000, 2)
    except ImageError as error:
        report["error"] = {"code": error.code, "message": str(error)}
        return report, None
    report["conversions"] = [{"what": what, "why": _why(what)} for what in picture.conversions]
    return report, picture.pixels


def _facts(header: Header) -> dict[str, Any]:
    height, width = header.upright
    return {
        "format": header.format,
        "height": height,
        "width": width,
        "stored": {"height": header.height, "width": header.width},
        "bit_depth": header.bit_depth,
        "channels": header.channels,
        "layout": header.layout,
        "orientation": header.orientation,
        "frames": header.frames,
        "progressive": header.progressive,
        "icc_profile": header.icc,
    }


def _budgets(header: Header, size: int, limits: Limits) -> dict[str, Any]:
    return {
        "pixels": header.width * header.height,
        "max_pixels": limits.max_pixels,
        "bytes": size,
        "max_bytes": limits.max_bytes,
    }


def _why(what: str) -> str:
    return next((why for start, why in _REASONS if what.startswith(start)), "")


def _write_planes(pixels: Image, name: str, file: Path) -> None:
    import cv2

    from pipelines.planes import planes
    from workers.atomic import write_atomically
    from workers.errors import OutputError

    height, width = pixels.shape[:2]
    sheet = planes(pixels, f"{name}, {width} x {height}")
    ok, encoded = cv2.imencode(file.suffix.lower(), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError(f"the planes could not be encoded as {file.suffix}; use .png")
    try:
        with write_atomically(file) as out:
            out.write(encoded.tobytes())
    except OSError as error:
        raise OutputError(f"{file} can't be written: {error.strerror or error}; choose another place") from error


def _as_text(report: dict[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    if "format" in report:
        rows += _fact_rows(report)
    if "error" in report:
        rows.append(("can't be read", f"{report['error']['message']}  [{report['error']['code']}]"))
    else:
        changed = [f"{c['what']} ({c['why']})" for c in report["conversions"]]
        rows += [("converts" if not i else "", text) for i, text in enumerate(changed or ["nothing"])]
        rows.append(("decoded in", f"{report['decode_ms']:.1f} ms"))
    if "planes" in report:
        rows.append(("planes", report["planes"]))
    width = max(len(name) for name, _ in rows)
    colour = "red" if "error" in report else "green"
    lines = [click.style(report["image"], fg=colour, bold=True)]
    return "\n".join([*lines, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _fact_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    budgets, stored = report["budgets"], report["stored"]
    style = {"JPEG": ", progressive", "PNG": ", interlaced"}.get(report["format"], "") if report["progressive"] else ""
    size = f"{report['width']} × {report['height']} pixels"
    if (stored["width"], stored["height"]) != (report["width"], report["height"]):
        size += f" upright, stored as {stored['width']} × {stored['height']}"
    rows = [
        ("format", report["format"] + style),
        ("size", size),
        ("channels", f"{report['channels']} ({report['layout']}), {report['bit_depth']} bits each"),
        ("orientation", f"{report['orientation']} ({_TURNS[report['orientation']]})"),
    ]
    if report["frames"] > 1:
        rows.append(("frames", str(report["frames"])))
    if report["icc_profile"]:
        rows.append(("profile", "ICC, ignored: models are trained on pictures read without it"))
    share = budgets["pixels"] / budgets["max_pixels"], budgets["bytes"] / budgets["max_bytes"]
    used = f"{budgets['pixels']:,} of {budgets['max_pixels']:,} pixels ({share[0]:.1%}), "
    rows.append(("budgets", used + f"{budgets['bytes']:,} of {budgets['max_bytes']:,} bytes ({share[1]:.1%})"))
    return rows
