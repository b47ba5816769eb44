"""PNG files whose pixel values mean something: ids with a palette, so that any viewer shows them in colour."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from pipelines.formats.placing import claim, legible, stems
from pipelines.masks import PlacedMask
from pipelines.palette import BLACK, Colour, colour_of, mask_palette

_IDS_OF_A_PALETTE = 256


def palette_png(ids: NDArray[np.uint8], colours: Iterable[Colour]) -> bytes:
    """Encode ids, (H, W) uint8, as PNG: 8 bits a pixel whose value is the id, its colour in the palette.

    Run lengths alone compress such maps as well as zlib's search does, in less time (decision 9 has the figures).
    """
    image = PilImage.fromarray(ids)
    # all 256 entries: with fewer, Pillow packs several pixels into a byte, which not every reader takes apart
    image.putpalette(bytes(channel for colour in colours for channel in colour).ljust(3 * _IDS_OF_A_PALETTE, b"\0"))
    file = io.BytesIO()
    image.save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()


def write_masks(lines: Iterable[Mapping[str, Any]], names: Sequence[str], folder: Path) -> None:
    """Write instances as two PNGs an image: which class a pixel is of, and which object.

        classes/x/a.png   0 nothing, class id + 1 otherwise
        objects/x/a.png   0 nothing, 1 the object with the highest score, 2 the next, in the order of the results
        classes.csv       value, name, red, green, blue

    lines: what `Result.to_json` gives, one mapping an image, read once. A failed picture has no file.
    names: the model's class names, by class id.
    folder: an empty folder.

    Where objects overlap, a pixel is of the one with the higher score. 8 bits with a palette; 16 bits grey where there
    are more than 255 classes, or more than 255 objects in a picture. Raises OSError if a file can't be written.
    """
    (folder / "classes.csv").write_bytes(instance_table(names))
    for line in lines:
        if line.get("status") != "ok":
            continue
        classes, objects = instance_pngs(line, len(names))
        stem = claim(folder / "classes", stems(str(line["image"])), ".png", classes)
        place = folder / "objects" / f"{stem}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(objects)


def instance_pngs(line: Mapping[str, Any], classes: int) -> tuple[bytes, bytes]:
    """Encode a picture's instances as two PNGs, as `write_masks` says: the class + 1 and the object of every pixel.

    line: what `Result.to_json` gave for instances. classes: how many the model has.
    """
    of_class, of_object = _painted(line)
    return _encoded(of_class, classes), _encoded(of_object, len(line["instances"]))


def instance_table(names: Sequence[str]) -> bytes:
    """Say in CSV what the values of instances' class PNGs mean; as `class_table`, with nothing at 0."""
    return class_table(["", *names], [BLACK, *map(colour_of, range(len(names)))])


def class_table(names: Sequence[str], colours: Sequence[Colour] | None = None) -> bytes:
    """Say in CSV what the values of a mask mean: value, name, red, green, blue.

    names: by value. colours: likewise; None: those of a class map.
    """
    import csv

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["value", "name", "red", "green", "blue"])
    for value, (name, colour) in enumerate(zip(names, colours or mask_palette(names), strict=True)):
        table.writerow([value, legible(name), *colour])
    return text.getvalue().encode()


def _painted(line: Mapping[str, Any]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The class + 1 and the object of every pixel, (H, W) uint16 each."""
    size = int(line["height"]), int(line["width"])
    classes, objects = np.zeros(size, np.uint16), np.zeros(size, np.uint16)
    for number, row in reversed(list(enumerate(line["instances"], start=1))):  # the best last, so that it lies on top
        mask = PlacedMask.from_rle(row["mask"])
        height, width = mask.pixels.shape
        here = np.s_[mask.y : mask.y + height, mask.x : mask.x + width]
        classes[here][mask.pixels] = int(row["class_id"]) + 1
        objects[here][mask.pixels] = number
    return classes, objects


def _encoded(ids: NDArray[np.uint16], highest: int) -> bytes:
    if highest < _IDS_OF_A_PALETTE:
        return palette_png(ids.astype(np.uint8), [BLACK, *map(colour_of, range(highest))])
    file = io.BytesIO()
    PilImage.fromarray(ids).save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()
