"""The gate: does an exported file agree with the PyTorch network it came from?

Real pictures go the whole way twice (`exports.ways`), are compared (`exports.compare`) and judged (`exports.gates`);
what was found goes into the card. Batches, odd sizes and pictures without anything in them are part of it.

PyTorch runs on the CPU in float32. Whether it repeats itself is measured, not assumed: the first picture runs twice,
and the largest difference between both runs is written into the card: so much of the rest is PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exports.catalog.entry import Entry
from exports.compare import Threshold, compare, kind_of, objects_of
from exports.errors import ParityError
from exports.gates import GATES, Precision, judge
from exports.pictures import ODD_SIZES, NamedPicture, Photographs, sized
from exports.ways import Runner, Seen, Way
from pipelines.card import Card
from pipelines.geometry import plan_fit
from pipelines.types import Image, Tensor

BATCHES = (1, 2, 5)
_COMMON = (240, 320)  # height × width the pictures of a batch are brought to, so that they share a shape
_MARGIN: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 5e-2}
_WANTED = 20  # detections a picture at least, where random weights find nothing on their own
_MOST = 100  # torchvision keeps so many a picture
_ORDINARY = 0.25  # the pipelines' own default for the score
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What the comparison found.

    figures: as `exports.compare.compare`. broken: which gates do not hold, a sentence each.
    checks: what else was tried (batches, sizes, nothing to find) and how it went.
    """

    kind: str
    precision: Precision
    origin: str
    figures: Mapping[str, Any]
    broken: tuple[str, ...]
    checks: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    forced: bool = field(default=False)

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return not self.broken

    def to_card(self) -> dict[str, Any]:
        """As JSON types, for `Card.parity`."""
        return {
            "compared_with": "PyTorch, float32, on a CPU",
            "pictures_from": self.origin,
            "figures": {name: _rounded(value) for name, value in self.figures.items()},
            "gates": [str(gate) for gate in GATES[self.kind, self.precision]],  # type: ignore[index]
            "passed": self.passed,
            "broken": list(self.broken),
            "forced": self.forced,
            "checks": dict(self.checks),
            "notes": list(self.notes),
        }


def check(
    entry: Entry,
    reference: Runner,
    exported: Runner,
    photographs: Photographs,
    precision: Precision,
    *,
    random_weights: bool = False,
    say: Say = lambda _: None,
) -> Report:
    """Compare an export with its network and judge it. Nothing is raised for a bad figure: see `Report.broken`.

    random_weights: a threshold that lets something through is chosen from the scores the network gives.
    Raises ParityError if either of them fails on a picture at all.
    """
    card = exported.card
    if entry.facts().noise:
        return _check_generator(entry, reference, exported, precision)
    kind = kind_of(card)
    params, notes = _params(card, reference, photographs, random_weights) if kind == "objects" else ({}, ())
    ways = Way(reference, params), Way(exported, params)
    score = float(params.get("score", _default_score(card)))
    # a margin for ordinary thresholds; below these it shrinks with them, or it would swallow everything
    margin = _MARGIN[precision] * min(1.0, score / _ORDINARY)
    threshold = Threshold(score, margin, _MOST)

    pairs: list[tuple[Seen, Seen]] = []
    for number, (name, picture) in enumerate(photographs.pictures, start=1):
        say(f"comparing picture {number} of {len(photographs.pictures)}: {name}")
        pairs.append((ways[0].see(picture), ways[1].see(picture)))
    repeat = _repeat(ways[0], photographs.pictures[0], pairs[0][0])
    checks: dict[str, Any] = {"pytorch_repeats_itself_to": _rounded(repeat)}

    say("comparing odd sizes")
    odd = list(_odd(entry, card, ways, photographs.pictures[0]))
    checks["sizes"] = [f"{height}×{width}" for (height, width), _ in odd]
    if kind == "objects":
        checks["nothing_to_find"] = _nothing(reference, exported, params)
    broken: list[str] = []
    if odd and precision == "fp32":  # what a coarser precision makes of a single pixel says nothing
        figures = compare(card, [pair for _, pair in odd], threshold)
        broken += [f"at odd sizes, {sentence}" for sentence in judge(kind, precision, figures)]
    if card.input.batch is None:
        say("comparing batches")
        checks["batches"] = list(BATCHES)
        for size in BATCHES:
            figures = compare(card, _batch(ways[1], photographs.pictures, size), threshold)
            broken += [f"in a batch of {size}, {sentence}" for sentence in judge(kind, precision, figures)]
    figures = compare(card, pairs, threshold)
    if kind == "objects":
        figures["score_threshold"] = threshold.score
        if not figures["detections"]:
            notes = (*notes, "nothing was found in any picture, so the boxes could not be compared")
    return Report(
        kind, precision, photographs.origin, figures, (*judge(kind, precision, figures), *broken), checks, notes
    )


def _check_generator(entry: Entry, reference: Runner, exported: Runner, precision: Precision) -> Report:
    noise = entry.facts().noise or 1
    random = np.random.default_rng(1511)
    ways = Way(reference), Way(exported)
    pairs: list[tuple[Seen, Seen]] = []
    for size in BATCHES:
        tensor = random.standard_normal((size, noise)).astype(np.float32)
        noise_only: list[Seen | None] = [None] * size
        pairs += zip(ways[0].rows(tensor, noise_only), ways[1].rows(tensor, noise_only), strict=True)
    figures = compare(exported.card, pairs, Threshold(0))
    broken = judge("picture", precision, figures)
    return Report(
        "picture", precision, "standard normal noise, seed 1511", figures, tuple(broken), {"batches": list(BATCHES)}
    )


def _default_score(card: Card) -> float:
    return float(card.defaults.get("score", _ORDINARY))


def _params(
    card: Card, reference: Runner, photographs: Photographs, random_weights: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters to compare detections with, and a note where they are not the user's."""
    score = _default_score(card)
    if not random_weights:
        return {"score": score}, ()
    params: dict[str, Any] = {"score": score}
    notes: tuple[str, ...] = ()
    if card.family in ("yolo", "yolox", "ssd") or (card.family == "yolo-seg" and not card.decode.get("end2end")):
        params["iou"] = 1.0
        notes = (
            "random weights give whole groups of boxes of almost the same score, from which suppression picks one by "
            "chance: compared before suppression",
        )
    way = Way(reference, {**params, "score": 0.0})
    scores: list[float] = []
    chosen = photographs.pictures[:2]
    for _, picture in chosen:
        scores += objects_of(way.see(picture)).scores.tolist()
    scores.sort(reverse=True)
    enough = _WANTED * len(chosen)
    if len(scores) == 0 or scores[min(enough, len(scores)) - 1] >= score:
        return params, notes
    least = scores[min(enough, len(scores)) - 1]
    note = (
        f"random weights find nothing at the usual score of {score:g}: compared from {least:.3g} on, which the "
        f"{min(enough, len(scores))} best detections of {len(chosen)} pictures reach"
    )
    return {**params, "score": least}, (*notes, note)


def _repeat(way: Way, picture: NamedPicture, first: Seen) -> float:
    again = way.see(picture[1])
    differences = [
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))
        if a.shape == b.shape
        else float("inf")
        for a, b in zip(first.outputs, again.outputs, strict=True)
    ]
    return max(differences)


def _odd(
    entry: Entry, card: Card, ways: tuple[Way, Way], picture: NamedPicture
) -> Sequence[tuple[tuple[int, int], tuple[Seen, Seen]]]:
    """Odd and extreme sizes, those left out that the network itself is too small for."""
    found = []
    for size in ODD_SIZES:
        if card.input.dynamic and min(plan_fit(size, card.input).padded) < entry.min_size:
            continue
        cut = sized(picture[1], size)
        found.append((size, (ways[0].see(cut), ways[1].see(cut))))
    return found


def _nothing(reference: Runner, exported: Runner, params: Mapping[str, Any]) -> dict[str, int]:
    """An even grey picture, and a threshold nothing reaches: neither may fail, and both sides must agree."""
    grey: Image = np.full((*_COMMON, 3), 114, np.uint8)
    counts = {}
    for name, session in (("pytorch", reference), ("onnx", exported)):
        counts[f"on_grey_{name}"] = len(objects_of(Way(session, params).see(grey)).scores)
        counts[f"at_score_1_{name}"] = len(objects_of(Way(session, {"score": 1.0}).see(grey)).scores)
    return counts


def _batch(way: Way, pictures: Sequence[NamedPicture], size: int) -> list[tuple[Seen, Seen]]:
    """Different pictures of one shape, one by one and in one batch: a batch must change nothing."""
    cuts = [sized(pictures[number % len(pictures)][1], _COMMON) for number in range(size)]
    if len(pictures) < size:  # too few photographs: turn the repeated ones round, so that no two are the same
        cuts = [np.ascontiguousarray(cut[:, ::-1]) if i >= len(pictures) else cut for i, cut in enumerate(cuts)]
    alone = [way.see(cut) for cut in cuts]
    tensors: list[Tensor] = [seen.tensor for seen in alone]
    together = way.rows(np.concatenate(tensors), alone)
    if any(len(a.outputs) != len(b.outputs) for a, b in zip(alone, together, strict=True)):
        raise ParityError(f"{way.card.name} gives another number of outputs in a batch of {size}")
    return list(zip(alone, together, strict=True))


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
