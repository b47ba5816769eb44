"""Ultralytics YOLO11 and YOLO26, detection and instance segmentation, five sizes each.

Checksums: Ultralytics publishes none beside its files. Those here are the ones GitHub's release page lists, as recorded
by independent users who agree with each other; a file without one is accepted as it comes, and opens only with trust.
"""

from __future__ import annotations

from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.catalog.entry import Entry, Facts, Family, Published
from exports.errors import MissingLibraryError
from exports.libraries import library
from exports.weights import WeightSource
from pipelines.card import InputSpec, Resize, Task

if TYPE_CHECKING:
    from torch.nn import Module

_RELEASES = {"yolo11": "v8.3.0", "yolo26": "v8.4.0"}
_ADDRESS = "https://github.com/ultralytics/assets/releases/download"
_IMAGE = 640  # pixels, the size all published figures are at

# Box AP (and mask AP) on COCO val2017 at 640, from docs/models/yolo11.md, docs/macros/yolo-det-perf.md (end to end
# column) and docs/macros/yolo-seg-perf.md of ultralytics/ultralytics.
_AP: dict[str, tuple[float, ...]] = {
    "yolo11n": (39.5,),
    "yolo11s": (47.0,),
    "yolo11m": (51.5,),
    "yolo11l": (53.4,),
    "yolo11x": (54.7,),
    "yolo26n": (40.1,),
    "yolo26s": (47.8,),
    "yolo26m": (52.5,),
    "yolo26l": (54.4,),
    "yolo26x": (56.9,),
    "yolo11n-seg": (38.9, 32.0),
    "yolo11s-seg": (46.6, 37.8),
    "yolo11m-seg": (51.5, 41.5),
    "yolo11l-seg": (53.4, 42.9),
    "yolo11x-seg": (54.7, 43.8),
    "yolo26n-seg": (39.6, 33.9),
    "yolo26s-seg": (47.3, 40.0),
    "yolo26m-seg": (52.5, 44.1),
    "yolo26l-seg": (54.4, 45.5),
    "yolo26x-seg": (56.5, 47.0),
}
_SHA256 = {
    "yolo11n": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
    "yolo11l": "9ebd0e09d59811db4b1d61e2bc6730649608b1ac47f8dd01e2da6bca7c20023f",
    "yolo11x": "7bc158aa95c0ebfdd87f70f01653c1131b93e92522dbe15c228bcd742e773a24",
    "yolo26n": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
    "yolo26s": "646f8bc3fe0a656803d95c294f7852321748cb29d13466a1af8862e2db384a1b",
    "yolo26m": "401cea9ab23ad19246ff7744859816bc599f350e93c9dd30367b6f0a0745d0b7",
    "yolo26l": "9fe3c544f2b19bebad7ea41e76d7ad3d88b7c2f10d11d24430c5311f6b32db26",
    "yolo26x": "9fdd44a31c504547ffb81d2c6d9e6dac3493c8eaa8b0398d3f43bae6c7003e92",
    "yolo11n-seg": "55ed65c56c91713d23e8402371c6c49a6fd84f257f7dce452e8d70e41dcbe152",
    "yolo26n-seg": "361fbfabab285c3237700b6bb91d7ecfa602cd945fffda8dbe1242829b71e73f",
}


def entries() -> list[Entry]:
    """Every YOLO of the catalogue."""
    return [
        Entry(name, _task(name), _family(name), "ultralytics", partial(_facts, name), partial(_network, name))
        for name in _AP
    ]


def _task(name: str) -> Task:
    return "instances" if name.endswith("-seg") else "detect"


def _family(name: str) -> Family:
    if name.endswith("-seg"):
        return "yolo-seg"
    return "yolo-end2end" if name.startswith("yolo26") else "yolo"


def _network(name: str) -> Module:
    tasks = library("ultralytics.nn.tasks")
    build = tasks.SegmentationModel if name.endswith("-seg") else tasks.DetectionModel
    network: Module = build(f"{name}.yaml", ch=3, nc=len(_names()), verbose=False)
    network.names = dict(enumerate(_names()))  # type: ignore[assignment]  # what Ultralytics' exporter writes
    return network


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    """COCO's 80 class names from the data set description inside the wheel; the library itself is not imported."""
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise MissingLibraryError("this needs ultralytics, which is not installed: pip install 'pixelmill[export]'")
    described: Any = library("yaml").safe_load(
        (Path(spec.origin).parent / "cfg" / "datasets" / "coco.yaml").read_text(encoding="utf-8")
    )
    return tuple(described["names"].values())


@lru_cache(maxsize=64)
def _facts(name: str) -> Facts:
    generation = name[:6]
    segments = name.endswith("-seg")
    sha256 = _SHA256.get(name)
    return Facts(
        input=InputSpec(
            name="images",
            height=_IMAGE,
            width=_IMAGE,
            dynamic=True,
            batch=None,
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            resize=Resize(rule="letterbox", stride=32),
        ),
        names=_names(),
        outputs=("output0", "output1") if segments else ("output0",),
        weights=WeightSource(
            file=f"{name}.pt",
            url=f"{_ADDRESS}/{_RELEASES[generation]}/{name}.pt",
            sha256=sha256,
            licence="AGPL-3.0 (Ultralytics; an enterprise licence exists)",
            training_data="COCO train2017",
            pickled=True,
        ),
        published=tuple(
            Published(metric, round(value / 100, 4), "COCO-val2017, 640", f"Ultralytics documentation, {name}")
            for metric, value in zip(("box mAP", "mask mAP"), _AP[name], strict=False)
        ),
        decode={"end2end": True} if generation == "yolo26" else {},
        notes=() if sha256 else (f"no checksum of {name}.pt is known: what the address gives is accepted",),
    )
