"""The commands of this room: `pixelmill describe`.

Each is a thin door: options become arguments, results become text. Heavy imports stand inside.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from exports.layers import Description


class ImageSize(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic only since click 8.3
    """A size in pixels: `640`, or height and width as `480x640`."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Give (height, width)."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().replace("×", "x").split("x")
        if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no size: give one number, or HEIGHTxWIDTH, e.g. 640 or 480x640", param, ctx)
        return int(parts[0]), int(parts[-1])


@click.command(
    epilog="""\b
Examples:
  pixelmill describe lenet5
  pixelmill describe yolo11n --imgsz 320
  pixelmill describe resnet18 --image cat.jpg --layers conv1,layer1.0.relu,layer2 --out features.png
  pixelmill describe model.onnx --json
""",
)
@click.argument("what", metavar="NAME|FILE.onnx")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--imgsz", type=ImageSize(), help="Input size: 640, or HEIGHTxWIDTH. Default: the network's own.")
@click.option("--image", type=click.Path(path_type=Path), help="Draw the feature maps of this picture, into --out.")
@click.option("--layers", default="", help="Which layers to draw, comma-separated, named as in the table.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to draw them: a .png file.")
@click.option("--weights", default="official", show_default=True, metavar="official|random|PATH",
              help="Weights to draw with (sizes don't depend on them).")  # fmt: skip
@click.option("--trust", is_flag=True, help="Open weights that can run code (Ultralytics .pt). Only if you trust them.")
def describe(
    what: str,
    as_json: bool,
    imgsz: tuple[int, int] | None,
    image: Path | None,
    layers: str,
    out: Path | None,
    weights: str,
    trust: bool,
) -> None:
    """Print a network layer by layer, or draw what its layers see.

    For every layer: kind, kernel, stride, padding, input and output size, parameters, multiply-accumulates. The
    output sizes of convolutions and pooling are computed, O = (I + 2P - F) / S + 1, and checked against a real run.
    """
    if (image is None) != (out is None):
        raise click.UsageError("--image and --out belong together: a picture to look at, a file to draw into")
    if layers and image is None:
        raise click.UsageError("--layers chooses what to draw: give --image and --out too")
    if image is not None and out is not None:
        chosen = [name.strip() for name in layers.split(",") if name.strip()]
        count = _draw(what, image, chosen, out, weights, trust, imgsz)
        click.echo(f"{count} layers of {what} drawn into {out}")
        return
    from exports.describe import describe as describe_network

    described = describe_network(what, imgsz)
    if as_json:
        click.echo(json.dumps(described.to_json(), indent=2))
    else:
        _print(described)


def _print(described: Description) -> None:
    from rich.console import Console

    from exports.describe import table

    console = Console()
    if not console.is_terminal:  # a pipe has no width: give the table the room it needs
        console = Console(width=200)
    console.print(table(described))


def _draw(
    what: str, image: Path, layers: list[str], out: Path, weights: str, trust: bool, imgsz: tuple[int, int] | None
) -> int:
    from exports.describe import check_size, is_file
    from exports.featuremaps import draw_maps, onnx_maps, onnx_spec, read_picture, torch_maps, write_png

    check_size(imgsz)
    if out.suffix.lower() != ".png":
        raise ParameterError(f"feature maps are drawn as .png, not {out.suffix or 'without a suffix'}: {out}")
    if not out.parent.is_dir():
        raise ParameterError(f"{out} can't be written: there is no folder {out.parent}")
    if is_file(what):
        spec = onnx_spec(Path(what), imgsz)
    else:
        from exports.build import build, sized
        from exports.catalog import find

        entry = find(what)
        spec = sized(entry, imgsz)
        if entry.facts().noise:
            raise ParameterError(f"{entry.name} makes pictures and takes none: its layers can't be drawn for one")
    try:
        picture, tensor = read_picture(image, spec)
    except ImageError as error:  # it does not name the picture: a batch says that elsewhere
        raise ParameterError(f"{image}: {error}") from error
    if is_file(what):
        maps = onnx_maps(Path(what), tensor, layers)
        title = f"{Path(what).name}: {image.name}"
    else:
        built = build(entry, weights, trust=trust, size=imgsz)
        maps = torch_maps(built.network, tensor, spec, layers)
        title = f"{entry.name} (weights: {built.weights.source.rsplit('/', 1)[-1].rstrip(')')}): {image.name}"
    write_png(draw_maps(picture, maps, title), out)
    return len(maps)


@click.command(
    epilog="""\b
Examples:
  pixelmill export --list
  pixelmill export resnet18
  pixelmill export fasterrcnn-resnet50-fpn --out detector.onnx
  pixelmill export yolo11n --trust --imgsz 480
  pixelmill export yolo11n --trust --precision int8 --calibrate photos/ --verify coco/ --max-drop 0.01
  pixelmill export lenet5 --weights my-lenet5.safetensors
  pixelmill run classify photos/ --model resnet18 --out labels/
""",
)
@click.argument("name", metavar="NAME", required=False)
@click.option("--list", "listed", is_flag=True, help="List the networks, and whose weights are on this machine.")
@click.option("--weights", default="official", show_default=True, metavar="official|random|PATH",
              help="The makers' weights, random ones to try things out, or a checkpoint of your own.")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True,
              help="fp16: half the file, for GPUs. int8: faster on CPUs, needs --calibrate.")  # fmt: skip
@click.option("--imgsz", type=ImageSize(), help="Input size: 640, or HEIGHTxWIDTH. Default: the network's own.")
@click.option("--dynamic/--static", default=None, help="Any size and batch, or exactly one picture of --imgsz.")
@click.option("--calibrate", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Photographs of the kind you will use, 24 or more, to find int8's ranges.")  # fmt: skip
@click.option("--verify", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Photographs to verify on. Labels (COCO, YOLO, VOC, class maps, a folder a class) give accuracy. "
                   "Default: photographs at hand.")  # fmt: skip
@click.option("--max-drop", type=click.FloatRange(0, 1),
              help="Accuracy fp16 or int8 may lose, e.g. 0.01. [default: 0.02]")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="The .onnx to write. Default: where `pixelmill run --model NAME` finds it.")  # fmt: skip
@click.option("--force", is_flag=True, help="Keep a file that fails its check; its card says so.")
@click.option("--trust", is_flag=True, help="Open weights that can run code (Ultralytics .pt). Only if you trust them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def export(name: str | None, listed: bool, as_json: bool, imgsz: tuple[int, int] | None, **options: Any) -> None:
    """Turn a network of the catalogue into one ONNX file that describes itself, and prove that it is right.

    PyTorch and ONNX Runtime take the same pictures the whole way and are compared: in batches, at odd sizes, with
    nothing to find. A file that does not agree is not written. What was measured stands in the file's card:
    `pixelmill models NAME` shows it.
    """
    if listed:
        from exports.listing import listing, show

        show(listing(), as_json=as_json)
        return
    if name is None:
        raise click.UsageError("which network? `pixelmill export --list` lists them")
    from exports.export import Request
    from exports.export_command import run

    run(Request(name, size=imgsz, **options), as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  pixelmill adopt yolox_nano.onnx --task detect --family yolox --names coco --colour BGR --mean 0 --std 1
      --resize letterbox --anchor top-left --strides 8,16,32 --licence Apache-2.0
  pixelmill adopt classifier.onnx --task classify --family logits --names classes.txt
      --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375 --resize crop --shorter-side 256
  pixelmill adopt model.onnx --card model.yaml --verify coco128/
""",
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.onnx")
@click.option("--card", type=click.Path(path_type=Path), metavar="YAML",
              help="The card's fields in a file; options win.")  # fmt: skip
@click.option("--task", help="What it is for: classify, detect, segment, instances, …")
@click.option("--family", help="How its outputs are read: logits, probabilities, yolo, yolo-end2end, yolox, ssd, "
                               "torchvision-detection, semantic-logits, yolo-seg, torchvision-instances, …; what "
                               "else a family needs is its `decode`, in --card.")  # fmt: skip
@click.option("--names", metavar="coco|imagenet|FILE", help="Class names: a known set, or a file with one a line.")
@click.option("--colour", type=click.Choice(["RGB", "BGR", "GRAY"]), help="Order of the channels. [default: RGB]")
@click.option("--mean", metavar="R,G,B", help="Taken off every pixel, 0-255. [default: 0]")
@click.option("--std", metavar="R,G,B", help="Every pixel is divided by it. [default: 255]")
@click.option("--imgsz", type=ImageSize(), help="The size it works best at, where the graph leaves it open.")
@click.option("--resize", type=click.Choice(["stretch", "letterbox", "crop", "shorter-side", "keep"]),
              help="How a picture is fitted.")  # fmt: skip
@click.option("--anchor", type=click.Choice(["centre", "top-left"]), help="Where a letterbox puts the picture.")
@click.option("--pad", type=click.IntRange(0, 255), help="What a letterbox fills up with. [default: 114]")
@click.option(
    "--shorter-side", type=click.IntRange(1), help="For crop (before it is cropped) and shorter-side: pixels."
)
@click.option("--longer-side", type=click.IntRange(1), help="For shorter-side: what the longer side may have at most.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic", "area"]),
              help="How it is resized.")  # fmt: skip
@click.option("--stride", type=click.IntRange(1), help="An open input must be a multiple of it. [default: 32]")
@click.option("--strides", metavar="8,16,32", help="For yolox: the strides of its levels.")
@click.option("--licence", help="Of the weights.")
@click.option("--source", help="Where the weights come from.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Photographs to run it on. Labels (COCO, YOLO, VOC, class maps, a folder a class) give accuracy. "
                   "Default: those at hand.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="The copy to write. Default: where `pixelmill run --model NAME` finds it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def adopt(file: Path, as_json: bool, **options: Any) -> None:
    """Give a foreign ONNX file a card, checked by running it; the copy then works in every pipeline.

    What the graph says is read from it; what it can't say, you do: colours, normalisation, fitting, class names.
    """
    from exports.adopt_command import run

    run(file, options, as_json=as_json)
