"""Four painted styles for `stylize`: one training for all, then a file each.

    python -m exports.recipes.styles.recipe --scratch FOLDER
    python -m exports.recipes.styles.recipe --scratch FOLDER --own mine=painting.jpg --out FOLDER

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from exports.catalog import Entry, find
from exports.download import sha256_of
from exports.errors import ExportError
from exports.networks.many_styles import ManyStyles
from exports.networks.transformer_net import TransformerNet
from exports.recipes.shipping import SHIPPED, data_folder
from exports.recipes.styles import losses
from exports.recipes.styles.data import HELD_OUT, held_out_paths, middles, painting, photographs
from exports.recipes.styles.training import BLOCKS, CHANNELS, OWN_WEIGHT, SIDE, STYLES, Plan, Style, fit, start
from exports.recipes.trained import alone, arguments, ship
from exports.settable_norm import settable
from pipelines.card import Quality, Weights
from pipelines.pipeline import Pipeline, build
from pipelines.results import RenderedPicture
from pipelines.types import Image

MEASURED_BY = "exports/recipes/styles/recipe.py"
JUDGED = 256  # pixels a side of the pictures that are measured
DATA = f"{HELD_OUT} photographs of coco128, never trained on, at {JUDGED} pixels"
PHOTOGRAPHS = "the first 116 photographs of COCO train2017's first 128 (under their Flickr licences)"
NOTES = (
    "one painting's style; strength and original colours are parameters",
    "its normalisation can be measured and kept, so large pictures run in tiles without seams",
)


def weights_folder() -> Path:
    """Where the loss network lies: `weights` beside the data."""
    return data_folder().parent / "weights"


def network_of(styles: dict[str, Style]) -> ManyStyles:
    """The network as its training starts."""
    torch.manual_seed(Plan().seed)
    return start(ManyStyles(tuple(styles), CHANNELS, BLOCKS))


def entry(name: str) -> Entry:
    """A style as the exporter knows networks."""
    facts = find("transformer-net").facts
    return Entry(name, "stylize", "transformer", "ours", facts, partial(TransformerNet, CHANNELS, BLOCKS))


def figures(
    stylize: Pipeline, before: TransformerNet, pictures: list[Image], judge: losses.LossNetwork, wanted: losses.Maps
) -> tuple[Quality, ...]:
    """What the card says: both losses of repainted photographs, of the photographs, and of the untrained network."""
    squares = middles(pictures, JUDGED)
    painted = [_painted(stylize, square) for square in squares]
    with torch.no_grad():
        untrained = [before(square[None]).clamp(0, 255) for square in squares]
    rows = {
        "": painted,
        ", of the network before training": untrained,
        ", of the photographs themselves": [square[None] for square in squares],
    }
    found = []
    for whose, them in rows.items():
        content, style = _losses(judge, them, [square[None] for square in squares], wanted)
        found += [(f"content loss{whose}", content), (f"style loss{whose}", style)]
    return tuple(
        Quality(metric=metric, value=round(value, 4), data=DATA, images=len(pictures), measured_by=MEASURED_BY)
        for metric, value in found
    )


def _painted(stylize: Pipeline, square: Tensor) -> Tensor:
    result = stylize(square.permute(1, 2, 0).byte().numpy())
    if not isinstance(result.found, RenderedPicture):
        raise TypeError(f"a picture was expected, not {result.error or result.found!r}")
    return torch.from_numpy(result.found.pixels).permute(2, 0, 1)[None].float()


def _losses(
    judge: losses.LossNetwork, pictures: list[Tensor], photographs: list[Tensor], wanted: losses.Maps
) -> tuple[float, float]:
    """The mean content and style loss of pictures."""
    content, style = [], []
    with torch.no_grad():
        for picture, photograph in zip(pictures, photographs, strict=True):
            maps = judge(picture)
            content.append(losses.content_distance(maps, judge(photograph)).item())
            style.append(losses.style_distance(maps, wanted).item())
    return sum(content) / len(content), sum(style) / len(style)


def options() -> argparse.ArgumentParser:
    """What the recipe can be told."""
    parser = arguments(__doc__ or "", SHIPPED, data_folder())
    parser.add_argument("--weights", type=Path, default=weights_folder() / "squeezenet1_1_caffe_fp16.safetensors",
                        help="SqueezeNet 1.1 as safetensors; default: %(default)s")  # fmt: skip
    parser.add_argument("--own", action="append", default=[], metavar="NAME=FILE",
                        help="a painting of your own instead of the four, perhaps several")  # fmt: skip
    return parser


def own_styles(given: list[str]) -> dict[str, Style]:
    """Styles as the command line names them. Raises ExportError for one that is not NAME=FILE."""
    styles = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise ExportError(f"--own takes NAME=FILE, this is {text!r}")
        styles[name] = Style(str(Path(file).resolve()), SIDE, OWN_WEIGHT, "a painting of the user's own")
    return styles


def main() -> None:
    given = options().parse_args()
    torch.set_num_threads(1)
    styles = own_styles(given.own) or STYLES
    training, held_out = photographs(given.data)
    judge = losses.LossNetwork(given.weights)
    network = network_of(styles)
    checkpoint = fit(network, judge, training, given.data / "styles", Plan(), given.scratch, styles)
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    pictures = alone(held_out_paths(given.data), given.scratch)
    before = network_of(styles)
    judge = losses.LossNetwork(given.weights)  # in the usual memory layout, not the training's
    for name, style in styles.items():
        baked = given.scratch / f"{name}.pt"
        torch.save(network.baked(name), baked)
        wanted = losses.wanted_style(judge, painting(given.data / "styles" / style.file, style.side))
        untrained = TransformerNet(CHANNELS, BLOCKS).eval()
        untrained.load_state_dict(before.baked(name))

        def measure(
            model: Path, untrained: TransformerNet = untrained, wanted: losses.Maps = wanted
        ) -> tuple[Quality, ...]:
            return figures(build(model, provider="cpu"), untrained, held_out, judge, wanted)

        weights = Weights(
            source=f"trained by {MEASURED_BY}, {Plan().steps} steps, seed {Plan().seed}",
            licence="the painting is in the public domain" if styles is STYLES else "unknown: the painting's",
            sha256=sha256_of(baked),
            training_data=f"{style.title}; {PHOTOGRAPHS}",
        )
        ship(entry(name), baked, weights, pictures, measure, given.out / f"{name}.onnx", notes=NOTES, change=settable)


if __name__ == "__main__":
    main()
