"""From a network trained here to the file that ships: exported, stored small, compared, measured, in this order.

What is compared with PyTorch and what is measured is the very file that ships, not one it was made from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from exports.build import build
from exports.catalog.entry import Entry
from exports.compact import Storage, compact
from exports.export import Request, export
from exports.parity import check
from exports.pictures import photographs
from exports.rawsession import open_session
from exports.recipes.shipping import put
from exports.target import write_model
from exports.ways import TorchSession
from exports.wrappers import wrap
from pipelines.card import Card, Quality, Weights, with_card

PICTURES = 24  # compared with PyTorch

Change = Callable[[onnx.ModelProto], onnx.ModelProto]
Measure = Callable[[Path], tuple[Quality, ...]]


def ship(
    entry: Entry, checkpoint: Path, weights: Weights, verify: Path, measure: Measure, out: Path,
    storage: Storage = "fp16", notes: tuple[str, ...] = (), change: Change | None = None,
) -> Card:  # fmt: skip
    """Turn a checkpoint into the shipped file and give its card.

    entry: the network; its name becomes the model's. weights, notes: for the card. verify: a folder of pictures the
    network was not trained on. measure: gives the figures of a model file. out: the file, written only when everything
    held. change: what else is done to the graph before it is compared and measured.
    Raises ParityError if the exported or the stored file disagrees with PyTorch, and what `exports.export.export` does.
    """
    with TemporaryDirectory(prefix="pixelmill-") as name:
        exported = Path(name) / f"{entry.name}.onnx"
        made = export(Request(entry.name, str(checkpoint), verify=verify, out=exported, trust=True), print, entry)
        model = compact(onnx.load(str(exported)), storage)
        if change is not None:
            model = change(model)
        card = made.card.model_copy(update={"weights": weights, "notes": notes})
        if storage != "fp32":
            card = card.model_copy(update={"precision": f"fp32, stored as {storage}"})
            write_model(model, card, exported)
            card = card.model_copy(update={"parity": _parity(entry, checkpoint, card, exported, verify)})
        write_model(model, card, exported)
        card = card.model_copy(update={"quality": measure(exported)})
        put(out, with_card(model.SerializeToString(), card))
    for figure in card.quality:
        print(f"{figure.metric}: {figure.value:g} ({figure.images} pictures)")
    print(f"{out.name}: {out.stat().st_size / 1e6:.2f} MB, stored as {storage}")
    return card


def arguments(description: str, out: Path, data: Path) -> argparse.ArgumentParser:
    """The options of a recipe that trains: where the training is kept, where the data is, where the file goes.

    out, data: their defaults.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="keeps the training, which goes on where it was")
    parser.add_argument("--data", type=Path, default=data, help="the folder of the data; default: %(default)s")
    parser.add_argument("--out", type=Path, default=out, help="the file to write; default: %(default)s")
    return parser


def alone(pictures: Iterable[Path], scratch: Path) -> Path:
    """Make a folder of links to these pictures and no others, for the comparison with PyTorch."""
    folder = scratch / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        link = folder / picture.name
        if not link.exists():
            link.symlink_to(picture.resolve())
    return folder


def _parity(entry: Entry, checkpoint: Path, card: Card, stored: Path, verify: Path) -> dict[str, object]:
    """Compare the stored file with the network, judged as a file in half precision: its weights were rounded to it."""
    network = wrap(build(entry, checkpoint, trust=True).network, entry)
    report = check(entry, TorchSession(network, card), open_session(stored, 1), photographs(verify, PICTURES), "fp16")
    if report.broken:
        raise SystemExit(f"{entry.name}, stored small, differs from PyTorch: {'; '.join(report.broken)}")
    return report.to_card()
