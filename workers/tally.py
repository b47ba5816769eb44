"""What a job amounts to, counted in one pass whose memory does not grow with the job."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from workers.lines import JsonDict, counted_rows

# What a job's results are: labels of whole pictures, objects in them, a class a pixel, or pictures that were made.
Kind: TypeAlias = Literal["labels", "objects", "classes", "pictures"]
_KINDS: dict[str, Kind] = {"labels": "labels", "segments": "classes", "picture": "pictures"}

_ACCURACY = 0.002  # relative error of a quantile
_GAMMA = (1 + _ACCURACY) / (1 - _ACCURACY)  # each bucket's upper edge over its lower one
_LOG_GAMMA = math.log(_GAMMA)


@dataclass(slots=True)
class Quantiles:
    """Quantiles of positive numbers to within 0.2%, in at most a few thousand buckets however many numbers come.

    Buckets grow by a constant factor: the sketch of Masson, Rim and Lee, "DDSketch", VLDB 2019, section 2.
    """

    count: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count one number; what is not above zero counts as the smallest one."""
        self.count += 1
        self.buckets[math.ceil(math.log(max(value, 1e-4)) / _LOG_GAMMA)] += 1

    def at(self, share: float) -> float:
        """Give the number below which `share` (0–1) of all lie. Raises ValueError if none was added."""
        if not self.count:
            raise ValueError("no number was added, so there is no quantile")
        rank, seen = share * (self.count - 1), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                return 2 * _GAMMA**bucket / (_GAMMA + 1)
        raise AssertionError("the ranks of a sketch add up to its count")


@dataclass(slots=True)
class Tally:
    """Counts over a job's results.

    kind: what the results are.
    labels: how often each label was found; for whole-picture labels, how often it came first; for classes, its pixels.
    pixels: of all segmented pictures.
    class_ids: the class id of each label.
    stages: milliseconds by stage.
    """

    total: int = 0
    failed: int = 0
    kind: Kind = "objects"
    objects: int = 0
    empty: int = 0
    pixels: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    class_ids: dict[str, int] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    stages: dict[str, Quantiles] = field(default_factory=dict)

    @property
    def ok(self) -> int:
        """Images that gave a result."""
        return self.total - self.failed

    def add(self, line: JsonDict) -> None:
        """Count one result."""
        self.total += 1
        if line.get("status") != "ok":
            self.failed += 1
            self.failures[str((line.get("error") or {}).get("code", "unknown"))] += 1
        else:
            self._add_found(line)
        for stage, milliseconds in (line.get("timings_ms") or {}).items():
            self.stages.setdefault(str(stage), Quantiles()).add(float(milliseconds))

    def _add_found(self, line: JsonDict) -> None:
        rows = counted_rows(line)
        self.objects += len(rows)
        self.empty += not rows
        self.kind = next((kind for key, kind in _KINDS.items() if key in line), self.kind)
        if self.kind == "classes":
            self.pixels += sum(int(row["pixels"]) for row in line["segments"])
        for row in rows:
            label = str(row["label"])
            self.labels[label] += int(row["pixels"]) if self.kind == "classes" else 1
            self.class_ids.setdefault(label, int(row["class_id"]))


def tally(lines: Iterable[JsonDict]) -> Tally:
    """Count all results."""
    total = Tally()
    for line in lines:
        total.add(line)
    return total
