"""Every network by name.

    from exports.catalog import catalog, find
    entry = find("resnet50")              # light: no library is imported
    entry.task, entry.family              # "classify", "logits"
    facts = entry.facts()                 # asks torchvision: input spec, class names, weight source, accuracy
    network = build(entry, "random")      # exports.build: a torch.nn.Module in eval mode

Adding a network is one `Entry` in the file of its kind, or one more file with an `entries()` named here.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

from exports.catalog import backbones, classifiers, detectors, lite0, own, semantic, yolo
from exports.catalog.entry import Entry, Facts, Family, Library, Published
from pipelines.errors import ParameterError

__all__ = ["Entry", "Facts", "Family", "Library", "Published", "catalog", "find"]


@lru_cache(maxsize=1)
def _registry() -> dict[str, Entry]:
    made = [*own.entries(), *classifiers.entries()]
    made += [*detectors.entries(), *yolo.entries(), *semantic.entries(), *lite0.entries()]
    made += backbones.entries({entry.name: entry for entry in made})
    return {entry.name: entry for entry in made}


def catalog() -> tuple[Entry, ...]:
    """Every entry, in the order of the documentation."""
    return tuple(_registry().values())


def find(name: str) -> Entry:
    """The entry of this name; `_` may stand for `-`.

    Raises ParameterError for an unknown name, with the nearest known ones.
    """
    registry = _registry()
    wanted = name.strip().lower().replace("_", "-")
    if wanted in registry:
        return registry[wanted]
    near = difflib.get_close_matches(wanted, registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pixelmill export --list` lists them"
    raise ParameterError(f"there is no network {name!r} in the catalogue: {hint}")
