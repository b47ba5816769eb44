"""Any classification network without its head: `NAME-embedding`, one vector, and `NAME-pyramid`, one map a level.

Level c_k has stride 2^k. Official weights are those of the whole network; the head's are read and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from exports.catalog.entry import Entry, Facts
from pipelines.card import Resize

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where a network is cut: the node whose output is pooled, and the node (or timm stage) of every level."""

    last: str
    levels: Mapping[str, str | int]


_RESNET = _Cut("layer4", {"c2": "layer1", "c3": "layer2", "c4": "layer3", "c5": "layer4"})
_TIMM = _Cut("", {"c2": 1, "c3": 2, "c4": 3, "c5": 4})
_CUTS = {
    "lenet5": _Cut("tanh5", {"c1": "s2", "c2": "s4"}),
    # Behind the last ReLU before the size changes, so that no level is poorer than its stride allows.
    "alexnet": _Cut("features.12", {"c2": "features.1", "c3": "features.4", "c4": "features.11", "c5": "features.12"}),
    "vgg16": _Cut("features.30", {"c2": "features.15", "c3": "features.22", "c4": "features.29", "c5": "features.30"}),
    "vgg19": _Cut("features.36", {"c2": "features.17", "c3": "features.26", "c4": "features.35", "c5": "features.36"}),
    "googlenet": _Cut("inception5b", {"c2": "conv3", "c3": "inception3b", "c4": "inception4e", "c5": "inception5b"}),
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet152": _RESNET,
    "se-resnet50": _TIMM,
    "efficientnet-lite0": _TIMM,
}


def entries(classifiers: Mapping[str, Entry]) -> list[Entry]:
    """The two backbones of every classification network given."""
    made = []
    for name, cut in _CUTS.items():
        whole = classifiers[name]
        embedding = partial(_embedding, whole.network, whole.library, cut)
        pyramid = partial(_pyramid, whole.network, whole.library, cut)
        made += [
            replace(
                whole,
                name=f"{name}-embedding",
                task="embed",
                family="embedding",
                facts=partial(_embedding_facts, whole.facts),
                network=embedding,
                adapt=partial(_onto_body, whole, embedding),
                whole=whole.network,
            ),
            replace(
                whole,
                name=f"{name}-pyramid",
                task="pyramid",
                family="pyramid",
                facts=partial(_pyramid_facts, whole.facts, tuple(cut.levels)),
                network=pyramid,
                adapt=partial(_onto_body, whole, pyramid),
                whole=whole.network,
            ),
        ]
    return made


def _embedding(network: Callable[[], Module], library: str, cut: _Cut) -> Module:
    from exports.networks.embedding import Embedding, TimmEmbedding

    if library == "timm":
        return TimmEmbedding(network())
    return Embedding(network(), cut.last)


def _pyramid(network: Callable[[], Module], library: str, cut: _Cut) -> Module:
    from exports.networks.pyramid import Pyramid, TimmPyramid

    if library == "timm":
        return TimmPyramid(network(), {level: int(stage) for level, stage in cut.levels.items()})
    return Pyramid(network(), {level: str(node) for level, node in cut.levels.items()})


def _onto_body(whole: Entry, backbone: Callable[[], Module], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The whole network's state dict, for the backbone: what the backbone does not have is its head."""
    adapted = whole.adapt(state) if whole.adapt else dict(state)
    own, head = backbone().state_dict(), whole.network().state_dict()
    # What belongs to neither body nor head stays, so that a file of another network is refused with its keys.
    return {f"body.{key}": tensor for key, tensor in adapted.items() if f"body.{key}" in own or key not in head}


@lru_cache(maxsize=64)
def _embedding_facts(whole: Callable[[], Facts]) -> Facts:
    facts = whole()
    return replace(facts, names=(), outputs=("embedding",), published=())


@lru_cache(maxsize=64)
def _pyramid_facts(whole: Callable[[], Facts], levels: tuple[str, ...]) -> Facts:
    facts = whole()
    spec = facts.input
    if spec.colour != "GRAY":  # any size fits; the deepest level wants multiples of its stride
        resize = Resize(rule="letterbox", interpolation=spec.resize.interpolation, stride=32)
        spec = spec.model_copy(update={"resize": resize, "dynamic": True})
    return replace(facts, input=spec, names=(), outputs=levels, published=())
