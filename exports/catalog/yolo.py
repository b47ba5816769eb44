"""Ultralytics YOLO11 and YOLO26, detection and instance segmentation, five sizes each.

Checksums: Ultralytics writes none into its file names. Those here are the digests GitHub lists for the files of release
v8.4.0, as public repositories that pin them record them; for the ten detectors and the two nano segmenters several
independent ones agree, for the other eight segmenters there is one record. All 20 files are in that one release.
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

_ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
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
    "yolo11s-seg": "1caa81c0195412efa411b632bcfb8c184939dddb6ae41f6a80c41b211ff257c3",
    "yolo11m-seg": "eb9a06f63e2206c35d68d839b08c362429ebecf933ad54c1ad68b2fd001c17cf",
    "yolo11l-seg": "cabe90049795dfc9a370b7934d6dec7f6b9e44a20e573b0ff81b7e205512c872",
    "yolo11x-seg": "4e53a5f5fd3ee2ae3361c62169c6bb3ed4ae251dd0e57606e230955aa52d919c",
    "yolo26n-seg": "361fbfabab285c3237700b6bb91d7ecfa602cd945fffda8dbe1242829b71e73f",
    "yolo26s-seg": "3da1d83e31caec96f9300eb4064f4f62882c133c7c264d63dfe61a7c197837a4",
    "yolo26m-seg": "16b636f04e8fb6a325b3370f22dc5e5535ff473e384f4d041fd28d788f6ee9f5",
    "yolo26l-seg": "636024306410afa1732692322fba57d22ea2b1c2f07613fcee131a93d7dd380c",
    "yolo26x-seg": "92b3de0065766a17180d6219858717dc9d03cdce8a3ca9576c97fd75aabb64f3",
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
    segments = name.endswith("-seg")
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
            url=f"{_ADDRESS}/{name}.pt",
            sha256=_SHA256[name],
            licence="AGPL-3.0 (Ultralytics; an enterprise licence exists)",
            training_data="COCO train2017",
            pickled=True,
        ),
        published=tuple(
            Published(metric, round(value / 100, 4), "COCO-val2017, 640", f"Ultralytics documentation, {name}")
            for metric, value in zip(("box mAP", "mask mAP"), _AP[name], strict=False)
        ),
        decode={"end2end": True} if name.startswith("yolo26") else {},
    )
