"""How closely an export must agree with its network, by kind of output and precision, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["labels", "objects", "semantic", "picture", "vectors"]
Precision: TypeAlias = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit. at_least: the smallest value allowed, or at_most: the largest; reason: why there."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    reason: str = ""

    def holds(self, value: float) -> bool:
        """Whether a measured value passes; NaN never does."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return (
            f"{self.metric} ≥ {self.at_least:g}" if self.at_least is not None else f"{self.metric} ≤ {self.at_most:g}"
        )


_SAME = "the same arithmetic in another order: float32 sums differ in the last digits, no answer may change"
_HALF = "float16 keeps 11 bits: relative steps of 0.0005, which add up over some dozens of layers"
_BYTE = "8 bits a value: single numbers move, what is seen should not; accuracy on labelled pictures decides"
_TIES = "a near tie may break either way"
_KEPT = "suppression keeps one of two boxes of almost the same score"

GATES: Mapping[tuple[Kind, Precision], tuple[Gate, ...]] = {
    ("labels", "fp32"): (
        Gate("relative_difference", at_most=1e-3, reason=_SAME),
        Gate("top1_agreement", at_least=1.0, reason=_SAME),
    ),
    ("labels", "fp16"): (
        Gate("relative_difference", at_most=3e-2, reason=_HALF),
        Gate("top1_agreement", at_least=0.95, reason=f"{_HALF}; {_TIES}"),
    ),
    ("labels", "int8"): (Gate("top1_agreement", at_least=0.85, reason=_BYTE),),
    ("objects", "fp32"): (
        Gate("matched", at_least=0.99, reason=f"{_SAME}; suppression turns a last digit into another box at {_TIES}"),
        Gate(
            "usual_box_difference_px", at_most=1.0, reason=f"less than a pixel, but for one box in a hundred: {_KEPT}"
        ),
        Gate("usual_score_difference", at_most=1e-2, reason=_SAME),
        Gate("mask_iou", at_least=0.98, reason="a mask's edge pixels sit at the threshold and may fall either way"),
    ),
    ("objects", "fp16"): (
        Gate("matched", at_least=0.95, reason=f"{_HALF}; {_TIES}"),
        Gate("usual_score_difference", at_most=5e-2, reason=_HALF),
        Gate("mask_iou", at_least=0.9, reason=_HALF),
    ),
    ("objects", "int8"): (
        Gate("matched", at_least=0.75, reason=_BYTE),
        Gate("mask_iou", at_least=0.8, reason=_BYTE),
    ),
    ("semantic", "fp32"): (
        Gate("equal_pixels", at_least=0.999, reason=f"{_SAME}; pixels on the border between two classes are near ties"),
    ),
    ("semantic", "fp16"): (Gate("equal_pixels", at_least=0.99, reason=_HALF),),
    ("semantic", "int8"): (Gate("equal_pixels", at_least=0.93, reason=_BYTE),),
    ("picture", "fp32"): (Gate("pixel_difference", at_most=1.0, reason="one step of 255 cannot be seen"),),
    ("picture", "fp16"): (
        Gate("pixel_difference", at_most=16.0, reason=f"{_HALF}; contrasts are amplified at the end"),
    ),
    ("picture", "int8"): (Gate("mean_pixel_difference", at_most=8.0, reason=_BYTE),),
    ("vectors", "fp32"): (
        Gate("relative_difference", at_most=1e-3, reason=_SAME),
        Gate("cosine", at_least=0.99999, reason=_SAME),
    ),
    ("vectors", "fp16"): (Gate("cosine", at_least=0.999, reason=_HALF),),
    ("vectors", "int8"): (Gate("cosine", at_least=0.95, reason=_BYTE),),
}


def judge(kind: Kind, precision: Precision, figures: Mapping[str, Any]) -> list[str]:
    """Which limits the measured figures break, one sentence each; a figure that was not measured breaks none."""
    broken = []
    for gate in GATES[kind, precision]:
        value = figures.get(gate.metric)
        if value is not None and not gate.holds(float(value)):
            broken.append(f"{gate.metric} is {float(value):.4g}, needed {gate} ({gate.reason})")
    return broken
