"""Notes beside cached weights: what `pixelmill models` tells of them without importing this room.

`NAME.json` lies beside `NAME`; it can be deleted at any time, the next export writes it again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from exports.catalog.entry import Entry
from pipelines.folders import weights_folder


def note(path: Path, entry: Entry) -> None:
    """Say beside a cached file of weights which network it belongs to; nothing happens to a file that lies elsewhere.

    A file that several networks share (a classifier and its backbone) keeps the first note. A cache that can't be
    written is no error: the weights are there.
    """
    beside = path.with_name(path.name + ".json")
    if path.parent != weights_folder() or beside.exists():
        return
    facts = entry.facts()
    source = facts.weights
    text = json.dumps(
        {
            "network": entry.name,
            "task": entry.task,
            "published": [f"{figure.metric} {figure.value:g}" for figure in facts.published],
            "licence": source.licence if source else None,
        }
    )
    part = beside.with_name(beside.name + ".part")
    with suppress(OSError):
        part.write_text(text, encoding="utf-8")
        part.replace(beside)
