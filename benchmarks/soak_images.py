"""Pictures for the soak: healthy ones, broken ones and ones that kill, each with the outcome it must have."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipelines
from tests.system.processes import drawn
from tests.system.service import MODEL

_HEALTHY = 24  # different healthy pictures
_POISONS = ("segv", "abort", "exit", "hang", "memory", "raise")
GIVEN_UP = frozenset({"crashed", "timed_out", "out_of_memory"})


@dataclass(frozen=True, slots=True)
class Specimen:
    """A picture's bytes and what must come of it. labels: of a healthy one. codes: one of them, of any other."""

    data: bytes
    labels: Any = None
    codes: frozenset[str] = frozenset()

    def complaint(self, line: Mapping[str, Any]) -> str | None:
        """Say what is wrong with a result line of this picture; None if nothing is."""
        if line["status"] == "ok":
            return None if self.labels is not None and line["labels"] == self.labels else "another result"
        code = line["error"]["code"]
        return None if code in self.codes else f"failed as {code}: {line['error']['message']}"


def specimens(folder: Path) -> tuple[list[Specimen], list[Specimen]]:
    """Make the pictures, and let an undisturbed process say what the healthy ones show; gives healthy and others."""
    pipeline = pipelines.load(str(MODEL), {"top_k": 3})
    healthy = []
    for seed in range(_HEALTHY):
        path = drawn(folder / f"{seed}.jpg", seed, (200 + 20 * (seed % 5), 260 + 30 * (seed % 7)))
        line = pipeline(path).to_json()
        healthy.append(Specimen(path.read_bytes(), labels=line["labels"]))
    one = healthy[0].data
    others = [
        Specimen(one[: len(one) // 2], codes=frozenset({"truncated", "corrupt"})),
        Specimen(b"", codes=frozenset({"empty_file"})),
        Specimen(b"no picture", codes=frozenset({"not_an_image"})),
        Specimen(_huge(), codes=frozenset({"too_many_pixels"})),
    ]
    # a chance kill may come before the picture's own: what it is given up for may be either
    others += [Specimen(healthy[n].data + b"POISON:" + how.encode(), codes=GIVEN_UP) for n, how in enumerate(_POISONS)]
    return healthy, others


def some(dice: random.Random, healthy: list[Specimen], others: list[Specimen], count: int) -> dict[str, Specimen]:
    """A job's pictures by name: mostly healthy ones."""
    return {f"{number:03}.jpg": dice.choice(healthy if dice.random() < 0.93 else others) for number in range(count)}


def _huge() -> bytes:
    """A PNG that claims 60,000 × 60,000 pixels in a hundred bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
