"""Build a network of the catalogue with official, random or one's own weights.

    built = build(find("yolo11n"), "official", trust=True)
    built.network            # torch.nn.Module, eval mode, no gradients
    built.weights            # pipelines.card.Weights for the card

Random weights are for tests and speed. They are the library's own initialisation under a fixed seed; afterwards the
statistics of batch normalisation are set from one batch of noise (`settle`), since with the initial ones (mean 0,
variance 1) the values in a deep network grow until they overflow, and nothing could be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from exports.cached import note
from exports.catalog.entry import Entry
from exports.download import sha256_of
from exports.errors import WeightsError
from exports.libraries import torch
from exports.statedict import fill, in_order, load_state_dict, untrusted
from exports.weights import fetch
from pipelines.card import InputSpec, Weights
from pipelines.errors import ParameterError

if TYPE_CHECKING:
    from torch.nn import Module

Example: TypeAlias = tuple[Any, ...]

SEED = 1998
# Anchors, or layers without padding, that fit one size of picture.
FIXED = frozenset(
    {"lenet5", "lenet5-embedding", "dcgan-generator", "dcgan-discriminator", "ssd300-vgg16",
     "ssdlite320-mobilenet-v3-large"}
)  # fmt: skip
_SETTLING_SIDE = 96  # pixels: enough for statistics at stride 32


@dataclass(frozen=True, slots=True)
class Built:
    """A network with its weights in, and where they came from (for the card)."""

    network: Module
    weights: Weights


def build(
    entry: Entry,
    weights: str | Path = "official",
    *,
    trust: bool = False,
    size: tuple[int, int] | None = None,
    seed: int = SEED,
) -> Built:
    """Build a network in eval mode, float32, on the CPU.

    weights: "official", "random", or the path of a checkpoint (safetensors, what `torch.save` wrote, or an ONNX file of
        this network).
    trust: open a pickle of whole objects (Ultralytics `.pt`), which can run code from the file.
    size: height and width in pixels the network is to work at, see `sized`; None for its own. It only matters to those
        that resize inside.
    Raises WeightsError (no official weights, not fetched, wrong checksum, of another network) and MissingLibraryError.
    """
    with _seeded(seed):
        network = entry.network().eval()
    network.requires_grad_(False)
    if size:
        _resize_inside(network, entry, size)
    if str(weights) == "random":
        settle(network, entry, seed)
        return Built(network, Weights(source=f"random, seed {seed}", licence="none: random numbers"))
    if str(weights) == "official":
        return Built(network, _fill_official(network, entry, trust=trust))
    path = Path(weights)
    state = load_state_dict(path, trust=trust)
    if entry.adapt and not _is_own(state, network):
        state = entry.adapt(state)
    fill(network, state, entry.name)
    if entry.finish:
        entry.finish(network)
    return Built(network, Weights(source=path.name, licence="as its file's owner says", sha256=sha256_of(path)))


def sized(entry: Entry, size: tuple[int, int] | None) -> InputSpec:
    """The entry's input spec for another height and width.

    A cropping classifier keeps the part of the picture it sees: the shorter side grows with the crop. Where the shorter
    side alone is given its size, the bound of the longer one grows with it.
    Raises ParameterError for a size the network does not take.
    """
    spec = entry.facts().input
    if size is None or size == (spec.height, spec.width):
        return spec
    if entry.name in FIXED:
        raise ParameterError(
            f"{entry.name} works at {spec.height}×{spec.width} pixels only, not at {size[0]}×{size[1]}"
        )
    if min(size) < entry.min_size:
        raise ParameterError(
            f"{entry.name} needs at least {entry.min_size}×{entry.min_size} pixels, got {size[0]}×{size[1]}"
        )
    resize, factor = spec.resize, min(size) / min(spec.height, spec.width)
    sides = {"shorter_side": resize.shorter_side, "longer_side": resize.longer_side}
    resize = resize.model_copy(update={name: round(side * factor) for name, side in sides.items() if side})
    return spec.model_copy(update={"height": size[0], "width": size[1], "resize": resize})


def example(entry: Entry, size: int | tuple[int, int] | None = None, *, batch: int = 1, seed: int = SEED) -> Example:
    """Inputs a network's forward pass accepts, filled with noise: `network(*example(entry))`.

    size: height and width in pixels; None for those of the entry's input spec.
    Detectors of torchvision get a list of CHW pictures, the generator gets noise, everything else (B, C, H, W).
    """
    facts = entry.facts()
    spec = facts.input
    height, width = (size, size) if isinstance(size, int) else size or (spec.height, spec.width)
    library = torch()
    random = library.Generator().manual_seed(seed)
    if facts.noise:
        return (library.randn(batch, facts.noise, generator=random),)
    channels = 1 if spec.colour == "GRAY" else 3
    pixels = library.rand(batch, channels, height, width, generator=random) * 255
    mean = library.tensor(spec.mean).reshape(-1, 1, 1)
    std = library.tensor(spec.std).reshape(-1, 1, 1)
    pictures = (pixels - mean) / std
    return (list(pictures),) if spec.layout == "CHW" else (pictures,)


def settle(network: Module, entry: Entry, seed: int = SEED) -> None:
    """Set the running statistics of every batch normalisation from one batch of noise, in place.

    Nothing happens in a network without batch normalisation.
    """
    library = torch()
    norms = [m for m in network.modules() if isinstance(m, library.nn.BatchNorm2d)]
    if not norms:
        return
    spec = entry.facts().input
    size = None if spec.resize.rule == "stretch" else _SETTLING_SIDE
    # Two pictures at least: a map of 1×1 has no variance in one. More cost much where every proposal has a head.
    inputs = example(entry, size, batch=2 if spec.layout == "CHW" else 4, seed=seed)
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches seen: of one
    try:
        with library.no_grad(), _small_pictures(network):
            network(*inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _fill_official(network: Module, entry: Entry, *, trust: bool) -> Weights:
    source = entry.facts().weights
    if source is None:
        raise WeightsError(
            f"nobody published weights for {entry.name!r}: give the path of some with --weights PATH, or take "
            "--weights random to try the network out"
        )
    if source.pickled and not trust:  # said before anything is downloaded
        raise untrusted(source.file)
    path = fetch(source)
    note(path, entry)
    state = load_state_dict(path, trust=trust)
    bundled = source.bundled
    from_package = bundled is not None and path == bundled.locate()
    if bundled and bundled.in_order and (from_package or source.url is None):
        state = in_order(state, entry.whole() if entry.whole else network)
    if entry.adapt:
        state = entry.adapt(state)
    fill(network, state, entry.name)
    if entry.finish:
        entry.finish(network)
    return Weights(
        source=f"{bundled.package} ({bundled.path})" if bundled and from_package else source.url or source.file,
        licence=source.licence,
        sha256=sha256_of(path),
        training_data=source.training_data,
    )


def _is_own(state: dict[str, Any], network: Module) -> bool:
    own = network.state_dict()
    return bool(state) and all(key in own for key in state)


def _resize_inside(network: Any, entry: Entry, size: tuple[int, int]) -> None:
    spec = sized(entry, size)
    if spec.layout == "CHW" and entry.name not in FIXED:  # torchvision's detectors: shorter side, longer side
        network.transform.min_size, network.transform.max_size = (min(size),), max(size)


@contextmanager
def _small_pictures(network: Any) -> Iterator[None]:
    """Let torchvision's detectors resize to little instead of 800 pixels: the statistics are as good, and at once."""
    transform: Any = getattr(network, "transform", None)
    if transform is None:
        yield
        return
    before = transform.min_size, transform.max_size
    transform.min_size, transform.max_size = (_SETTLING_SIDE,), 2 * _SETTLING_SIDE
    try:
        yield
    finally:
        transform.min_size, transform.max_size = before


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initialise under a seed and give the global generator back as it was."""
    library = torch()
    with library.random.fork_rng(devices=[]):
        library.manual_seed(seed)
        yield
