"""What tiles find in large pictures, against the same network without them and against the labels.

    python -m benchmarks.tiles                # some minutes; writes its table into docs/tiles.md
    python -m benchmarks.tiles --only smears-yolo

Large pictures with labels are made of small ones, twice over:
  mosaic     smears of the validation split laid side by side, each as large as it was photographed. The untiled
             result is that of one run over the whole mosaic with an input so large that the network sees the cells at
             the size at which it sees them in a tile: the seams make the only difference. (Faster R-CNN shrinks its
             input itself: what it finds in each smear alone is laid side by side.)
  shifted    how much of that agreement can be had at all: the same run over the mosaic moved by 19 and 23 pixels,
             compared with the one that was not moved
  enlarged   a photograph of COCO three times as large. The untiled result is that of the enlarged picture as a whole,
             and tiles see it twice as large or more, so they should find more of what is labelled
Boxes agree when they are of one class and their intersection over union is at least 0.5, each with one other at most:
whatever is found twice counts against precision.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import pipelines
from benchmarks.throughput import DATA, write_between
from pipelines.card import Card
from pipelines.geometry import iou
from pipelines.masks import PlacedMask
from pipelines.pipeline import Pipeline
from pipelines.results import Detections, Instances, SemanticMask
from pipelines.types import Boxes, Image

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "tiles.md"
AGREE = 0.5
ACROSS, DOWN, SMEAR = 3, 3, (480, 640)
ENLARGED = 3
MOVED = (19, 23)
# bccd's names → the models'
NAMES = {"RBC": "red cell", "WBC": "white cell", "Platelets": "platelet"}


@dataclass(frozen=True, slots=True)
class Case:
    """A shipped model, the large pictures it is tried on, and the side of a tile in pixels."""

    model: str
    pictures: str
    tile: int


CASES = (
    Case("smears-yolo", "mosaic", 640),
    Case("smears-fasterrcnn", "mosaic", 480),
    Case("smears-yolo-seg", "mosaic", 640),
    Case("smears-semantic", "mosaic", 640),
    Case("ssd-mobilenet-v2", "enlarged", 960),
    Case("coco-masks", "enlarged", 960),
)


@dataclass(frozen=True, slots=True)
class Objects:
    """What stands in a picture: boxes (N, 4) float32, N class names, and masks where there are any."""

    boxes: Boxes
    names: tuple[str, ...]
    masks: tuple[PlacedMask, ...] = ()

    def moved(self, right: int, down: int) -> Objects:
        """The same further to the right and down, in pixels."""
        masks = tuple(PlacedMask(mask.x + right, mask.y + down, mask.pixels) for mask in self.masks)
        return Objects(self.boxes + np.array([right, down] * 2, np.float32), self.names, masks)


def together(parts: list[Objects]) -> Objects:
    """All of them as one."""
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)])
    names = tuple(name for part in parts for name in part.names)
    return Objects(boxes, names, tuple(mask for part in parts for mask in part.masks))


def objects(found: object) -> Objects:
    """What a detector or an instance segmenter found."""
    if not isinstance(found, Detections | Instances):
        sys.exit(f"boxes were expected, not {found}")
    return Objects(found.boxes, found.names, found.masks if isinstance(found, Instances) else ())


def matched(ours: Objects, others: Objects) -> list[tuple[int, int]]:
    """Pairs that agree, the closest first, each in one pair at most."""
    same = np.array([[a == b for b in others.names] for a in ours.names], np.bool_)
    overlap = iou(ours.boxes, others.boxes) * same.reshape(len(ours.names), len(others.names))
    pairs = []
    while overlap.size and overlap.max() >= AGREE:
        row, column = (int(place) for place in np.unravel_index(overlap.argmax(), overlap.shape))
        pairs.append((row, column))
        overlap[row], overlap[:, column] = 0, 0
    return pairs


@dataclass(slots=True)
class Tally:
    """Counts over all pictures. shared: what both have. ours, others: what each has."""

    shared: int = 0
    ours: int = 0
    others: int = 0
    mask_iou: list[float] = field(default_factory=list)

    def add(self, ours: Objects, others: Objects) -> None:
        """Count one picture."""
        pairs = matched(ours, others)
        self.shared += len(pairs)
        self.ours += len(ours.names)
        self.others += len(others.names)
        if ours.masks and others.masks:
            self.mask_iou += [mask_overlap(ours.masks[a], others.masks[b]) for a, b in pairs]

    @property
    def words(self) -> str:
        """Precision and recall."""
        return f"{self.shared / max(1, self.ours):.3f} / {self.shared / max(1, self.others):.3f}"


def mask_overlap(a: PlacedMask, b: PlacedMask) -> float:
    """Intersection over union of two masks."""
    left, top = min(a.x, b.x), min(a.y, b.y)
    right = max(a.x + a.pixels.shape[1], b.x + b.pixels.shape[1])
    bottom = max(a.y + a.pixels.shape[0], b.y + b.pixels.shape[0])
    whole = [PlacedMask(m.x - left, m.y - top, m.pixels).whole((bottom - top, right - left)) for m in (a, b)]
    return float((whole[0] & whole[1]).sum() / max(1, (whole[0] | whole[1]).sum()))


def smears() -> list[Path]:
    """The smears of the validation split, which no shipped model was trained on."""
    return [DATA / "bccd" / "images" / f"{name}.jpg" for name in (DATA / "bccd" / "val.txt").read_text().split()]


def photographs() -> list[Path]:
    """COCO's photographs with labels."""
    return [path for path in sorted((DATA / "coco128" / "images").rglob("*.jpg")) if label_file(path).exists()]


def label_file(photograph: Path) -> Path:
    """Where a photograph's boxes stand."""
    return DATA / "coco128" / "boxes" / f"{photograph.stem}.txt"


def read(path: Path) -> Image:
    """A picture's pixels, (H, W, 3) uint8 RGB."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)  # type: ignore[arg-type]


def smear_labels(path: Path) -> Objects:
    """The labelled cells of a smear."""
    root = ElementTree.parse(DATA / "bccd" / "annotations" / f"{path.stem}.xml").getroot()
    corners, names = [], []
    for thing in root.iter("object"):
        corners.append([float(thing.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")])
        names.append(NAMES[thing.findtext("name", "")])
    return Objects(np.array(corners, np.float32).reshape(-1, 4), tuple(names))


def photograph_labels(path: Path, size: tuple[int, int], names: tuple[str, ...]) -> Objects:
    """The labelled objects of a photograph as large as `size`."""
    rows = np.array([line.split() for line in label_file(path).read_text().splitlines()], np.float32).reshape(-1, 5)
    half = rows[:, 3:] / 2
    scale = np.array([size[1], size[0]] * 2, np.float32)
    boxes = np.hstack([rows[:, 1:3] - half, rows[:, 1:3] + half]) * scale
    return Objects(boxes.astype(np.float32), tuple(names[int(row)] for row in rows[:, 0]))


def mosaics(count: int) -> Iterator[list[Path]]:
    """The smears of so many mosaics."""
    paths, each = smears(), ACROSS * DOWN
    for start in range(0, min(count, len(paths) // each) * each, each):
        yield paths[start : start + each]


def corners() -> list[tuple[int, int]]:
    """Where the smears of a mosaic lie: (right, down) in pixels."""
    return [(number % ACROSS * SMEAR[1], number // ACROSS * SMEAR[0]) for number in range(ACROSS * DOWN)]


def laid(parts: list[np.ndarray]) -> np.ndarray:
    """A mosaic of pictures or class maps."""
    return np.vstack([np.hstack(parts[row * ACROSS : (row + 1) * ACROSS]) for row in range(DOWN)])


def boxes_row(case: Case, plain: Pipeline, tiled: Pipeline, count: int) -> str:
    """Measure a case that gives boxes; a row of the table."""
    same, with_tiles, without = Tally(), Tally(), Tally()
    shifted, number = Tally(), 0
    for pixels, labels, untiled in _pictures(case, plain, count):
        number += 1
        found = objects(tiled(pixels).found)
        if case.pictures == "mosaic" and plain.card.input.resize.rule != "keep":
            again = objects(plain(moved(pixels)).found)
            shifted.add(Objects(again.boxes, again.names).moved(-MOVED[1], -MOVED[0]), untiled)
        same.add(found, untiled)
        with_tiles.add(found, labels)
        without.add(untiled, labels)
    notes = [f"masks' mean IoU {np.mean(same.mask_iou):.3f}"] if same.mask_iou else []
    notes += [f"shifted: {shifted.others} → {shifted.ours}, {shifted.words}"] if shifted.others else []
    return (
        f"| `{case.model}` | {number} × {case.pictures}, {case.tile} | {same.others} → {same.ours} | {same.words} | "
        f"{without.words} | {with_tiles.words} | {'; '.join(notes)} |"
    )


def moved(pixels: Image) -> Image:
    """A picture further down and to the right, its border filled with its own reflection."""
    return np.pad(pixels, ((MOVED[0], 0), (MOVED[1], 0), (0, 0)), mode="reflect")


def _pictures(case: Case, plain: Pipeline, count: int) -> Iterator[tuple[Image, Objects, Objects]]:
    """Pictures with what is labelled in them and what was found without tiles."""
    if case.pictures == "mosaic":
        for paths in mosaics(count):
            labels = together([smear_labels(path).moved(*at) for path, at in zip(paths, corners(), strict=True)])
            smear = [read(path) for path in paths]
            pixels = laid(smear)
            if plain.card.input.resize.rule == "keep":
                alone = [objects(plain(one).found).moved(*at) for one, at in zip(smear, corners(), strict=True)]
                yield pixels, labels, together(alone)
            else:
                yield pixels, labels, objects(plain(pixels).found)
        return
    for path in photographs()[: 10 * count]:
        pixels = np.asarray(cv2.resize(read(path), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC))
        yield pixels, photograph_labels(path, pixels.shape[:2], plain.card.names), objects(plain(pixels).found)


def pixels_row(case: Case, plain: Pipeline, tiled: Pipeline, count: int) -> str:
    """Measure a case that gives class maps; a row of the table."""
    equal = total = number = again = 0
    for paths in mosaics(count):
        number += 1
        mosaic = laid([read(path) for path in paths])
        whole, found = plain(mosaic).found, tiled(mosaic).found
        if not isinstance(found, SemanticMask) or not isinstance(whole, SemanticMask):
            sys.exit(f"class maps were expected, not {whole} and {found}")
        equal += int((whole.class_map == found.class_map).sum())
        total += found.class_map.size
        shifted = plain(moved(mosaic)).found
        if isinstance(shifted, SemanticMask):
            again += int((whole.class_map == shifted.class_map[MOVED[0] :, MOVED[1] :]).sum())
    share = f"equal pixels {equal / total:.4f}; shifted: {again / total:.4f}"
    return f"| `{case.model}` | {number} × {case.pictures}, {case.tile} | – | – | – | – | {share} |"


def measure(case: Case, count: int) -> str:
    """A row of the table for a case."""
    # a mosaic holds nine times what one smear does
    limit = {} if case.model == "smears-semantic" else {"max_detections": 2000}
    plain, tiled = (pipelines.load(case.model, {"tile": tile, **limit}, provider="cpu") for tile in (0, case.tile))
    if case.pictures == "mosaic" and plain.card.input.resize.rule == "letterbox":
        plain.card = _as_large(plain.card, case.tile)
    return (pixels_row if plain.card.task == "segment" else boxes_row)(case, plain, tiled, count)


def _as_large(card: Card, tile: int) -> Card:
    """A card by which a mosaic as a whole is shrunk as little as a tile is."""
    spec = card.input
    side = round(max(ACROSS * SMEAR[1], DOWN * SMEAR[0]) * spec.width / tile)
    return card.model_copy(update={"input": spec.model_copy(update={"width": side, "height": side})})


def main() -> None:
    """Measure and print; write the table unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a model's name")
    parser.add_argument("--count", type=int, default=9, help="mosaics of nine smears; tens of photographs")
    parser.add_argument("--no-write", action="store_true", help="do not touch docs/tiles.md; nor is it with --only")
    options = parser.parse_args()
    if not (DATA / "bccd").is_dir() or not (DATA / "coco128").is_dir():
        sys.exit(f"the benchmark wants bccd/ and coco128/ below {DATA}: set PIXELMILL_DATA")
    lines = [
        "| model | pictures, tile | boxes without → with tiles | tiles against untiled | untiled against labels | "
        "tiles against labels | besides |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        if options.only in (None, case.model):
            lines.append(measure(case, options.count))
            print(lines[-1], flush=True)
    if not options.no_write and options.only is None:
        write_between(DOCUMENT, "tiles", "\n".join(lines))


if __name__ == "__main__":
    main()
