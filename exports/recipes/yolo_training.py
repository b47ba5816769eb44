"""Training an Ultralytics network on the smears, on a CPU, so that it can be cut off and taken up again.

The last weights count, averaged over the steps (EMA), never the best on the smears they are judged by: choosing there
would make the figure read high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exports.libraries import library, torch
from exports.recipes import bccd

Describe = Callable[[bccd.Smear], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is handed to Ultralytics beside the data.

    size: side of the square input in pixels. plain_epochs: at the end, without mosaics. rate: of AdamW at its highest.
    """

    epochs: int
    plain_epochs: int
    rate: float
    size: int = 416
    batch: int = 8
    seed: int = 0


def box_lines(smear: bccd.Smear) -> list[str]:
    """Write a smear's objects as YOLO reads them: `class cx cy w h`, in shares of the picture."""
    height, width = smear.size
    lines = []
    for (x1, y1, x2, y2), label in zip(smear.boxes.tolist(), smear.labels, strict=True):
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join([str(bccd.LABELS.index(label)), *(f"{number:.6f}" for number in numbers)]))
    return lines


def write_dataset(folder: Path, train: Sequence[bccd.Smear], val: Sequence[bccd.Smear], describe: Describe) -> Path:
    """Lay the smears out as Ultralytics wants them, pictures as links. Returns the description, a `.yaml`.

    describe: gives the lines of a smear's label file; files that are there already stay.
    """
    for split, smears in (("train", train), ("val", val)):
        pictures, labels = folder / "images" / split, folder / "labels" / split
        for made in (pictures, labels):
            made.mkdir(parents=True, exist_ok=True)
        for smear in smears:
            link = pictures / smear.path.name
            if not link.exists():
                link.symlink_to(smear.path.resolve())
            label = labels / f"{smear.path.stem}.txt"
            if not label.exists():
                label.write_text("".join(f"{line}\n" for line in describe(smear)), encoding="utf-8")
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(bccd.NAMES))
    described = folder / "smears.yaml"
    described.write_text(
        f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}", encoding="utf-8"
    )
    return described


def train(network: str, data: Path, scratch: Path, schedule: Schedule, start: Path | None = None) -> Path:
    """Train, or go on where an earlier call in the same scratch folder was cut off.

    network: an Ultralytics description, e.g. `yolo11n.yaml`. start: a checkpoint whose weights are taken over where
    names and shapes agree. Returns the last checkpoint; training already finished there is not repeated.
    """
    yolo = library("ultralytics").YOLO
    last = scratch / "run" / "weights" / "last.pt"
    if last.exists():
        if finished(last):
            return last
        model = yolo(last)
        model.add_callback("on_train_start", make_cheap)
        model.train(resume=True)
        return last
    model = yolo(network)
    model.add_callback("on_train_start", make_cheap)
    model.train(
        data=str(data),
        project=str(scratch),
        name="run",
        exist_ok=True,
        epochs=schedule.epochs,
        close_mosaic=schedule.plain_epochs,
        imgsz=schedule.size,
        batch=schedule.batch,
        nbs=schedule.batch,  # a step a batch: Ultralytics would gather 64 pictures, three steps an epoch of these 205
        optimizer="AdamW",
        lr0=schedule.rate,
        cos_lr=True,
        warmup_epochs=2,
        warmup_bias_lr=schedule.rate,
        flipud=0.5,  # a smear has no up and down
        seed=schedule.seed,
        deterministic=False,  # on a CPU a seed is enough, and the checks cost time
        device="cpu",
        amp=False,
        workers=0,
        val=False,
        plots=False,
        cache="ram",
        pretrained=str(start) if start else False,
    )
    return last


def finished(checkpoint: Path) -> bool:
    """Whether Ultralytics has put a training's last checkpoint in its final form, without the optimiser's state."""
    stored: dict[str, Any] = torch().load(checkpoint, map_location="cpu", weights_only=False)
    return stored.get("optimizer") is None


def make_cheap(trainer: Any) -> None:
    """Let a CPU train in little more than half the time: channels last, and convolutions in bfloat16.

    Measured on one core with AVX-512 and bf16, yolo11n, 8 pictures at 416, forwards and backwards: 1.20 s as it is,
    1.04 s with channels last, 0.68 s with both. Weights, losses and the optimiser stay float32, and so does what is
    saved, which belongs to the averaged copy and not to this network.
    """
    model, library_ = trainer.model, torch()
    model.to(memory_format=library_.channels_last)
    plain = model._predict_once

    def predict(*arguments: Any, **named: Any) -> Any:
        with library_.autocast("cpu", library_.bfloat16):
            found = plain(*arguments, **named)
        return widened(found)

    model._predict_once = predict


def widened(found: Any) -> Any:
    """Turn every tensor of a network's output into float32, whatever lists and dicts they lie in."""
    if isinstance(found, dict):
        return {name: widened(part) for name, part in found.items()}
    if isinstance(found, list | tuple):
        return type(found)(widened(part) for part in found)
    return found.float() if torch().is_tensor(found) else found
