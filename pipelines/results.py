"""What one image gave: frozen values with arrays whose shapes are checked at construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ImageErrorCode
from pipelines.masks import PlacedMask
from pipelines.types import Boxes, ClassIds, Scores

JsonDict: TypeAlias = dict[str, Any]

_COUNTED = 1 << 22  # pixels counted at once, for which NumPy makes a copy of 8 bytes each


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        wanted = np.dtype(dtype).name
        raise ValueError(f"{name} must be {wanted} of shape {shape}, got {array.dtype.name} of shape {array.shape}")


@dataclass(frozen=True, slots=True)
class Labels:
    """The classes a picture as a whole belongs to, most probable first.

    class_ids: (K,) int64, index into the model's class names.
    scores: (K,) float32 in [0, 1], descending; probabilities over all classes of the model.
    names: K class names, in the same order.
    """

    class_ids: ClassIds
    scores: Scores
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check("scores", self.scores, (len(self.names),), np.float32)
        _check("class_ids", self.class_ids, (len(self.names),), np.int64)

    def to_json(self) -> JsonDict:
        """Give `{"labels": [{"label", "class_id", "score"}, …]}`."""
        rows = zip(self.names, self.class_ids.tolist(), self.scores.tolist(), strict=True)
        return {"labels": [{"label": n, "class_id": c, "score": round(s, 6)} for n, c, s in rows]}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Labels:
        """Read back what `to_json` gave."""
        rows = line["labels"]
        return cls(
            np.array([r["class_id"] for r in rows], np.int64),
            np.array([r["score"] for r in rows], np.float32),
            tuple(r["label"] for r in rows),
        )


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in a picture, highest score first.

    boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the upright original, clipped to it.
    scores: (N,) float32 in [0, 1].
    class_ids: (N,) int64, index into the model's class names.
    names: N class names, one a detection.
    """

    boxes: Boxes
    scores: Scores
    class_ids: ClassIds
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        _check("boxes", self.boxes, (count, 4), np.float32)
        _check("scores", self.scores, (count,), np.float32)
        _check("class_ids", self.class_ids, (count,), np.int64)

    def to_json(self) -> JsonDict:
        """Give `{"detections": [{"label", "class_id", "score", "box": [x1, y1, x2, y2]}, …]}`."""
        rows = zip(self.names, self.class_ids.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        return {
            "detections": [
                {"label": n, "class_id": c, "score": round(s, 6), "box": [round(v, 2) for v in b]}
                for n, c, s, b in rows
            ]
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Detections:
        """Read back what `to_json` gave."""
        rows = line["detections"]
        return cls(
            np.array([r["box"] for r in rows], np.float32).reshape(-1, 4),
            np.array([r["score"] for r in rows], np.float32),
            np.array([r["class_id"] for r in rows], np.int64),
            tuple(r["label"] for r in rows),
        )


@dataclass(frozen=True, slots=True)
class Instances:
    """Objects found in a picture, each with the pixels it covers, highest score first; masks may overlap.

    boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the upright original, clipped to it.
    scores: (N,) float32 in [0, 1].
    class_ids: (N,) int64, index into the model's class names.
    names: N class names.
    masks: N masks in pixels of the upright original.
    size: (height, width) of the upright original in pixels.
    """

    boxes: Boxes
    scores: Scores
    class_ids: ClassIds
    names: tuple[str, ...]
    masks: tuple[PlacedMask, ...]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.names)
        _check("boxes", self.boxes, (count, 4), np.float32)
        _check("scores", self.scores, (count,), np.float32)
        _check("class_ids", self.class_ids, (count,), np.int64)
        if len(self.masks) != count:
            raise ValueError(f"{count} instances need {count} masks, got {len(self.masks)}")

    def to_json(self) -> JsonDict:
        """Give `{"instances": [{"label", "class_id", "score", "box", "mask": COCO's run lengths}, …]}`."""
        rows = zip(
            self.names, self.class_ids.tolist(), self.scores.tolist(), self.boxes.tolist(), self.masks, strict=True
        )
        return {
            "instances": [
                {
                    "label": n,
                    "class_id": c,
                    "score": round(s, 6),
                    "box": [round(v, 2) for v in b],
                    "mask": m.to_rle(self.size),
                }
                for n, c, s, b, m in rows
            ]
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Instances:
        """Read back what `to_json` gave, with the picture's size from `height` and `width` of the line."""
        rows = line["instances"]
        return cls(
            np.array([r["box"] for r in rows], np.float32).reshape(-1, 4),
            np.array([r["score"] for r in rows], np.float32),
            np.array([r["class_id"] for r in rows], np.int64),
            tuple(r["label"] for r in rows),
            tuple(PlacedMask.from_rle(r["mask"]) for r in rows),
            (int(line["height"]), int(line["width"])),
        )


@dataclass(frozen=True, slots=True)
class SemanticMask:
    """A class for every pixel of a picture.

    class_map: (H, W) uint8, index into `names`, at the size of the upright original.
    names: all class names of the model, index = class id; at most 256.
    """

    class_map: NDArray[np.uint8]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.class_map.ndim != 2 or self.class_map.dtype != np.uint8:
            raise ValueError(
                f"class_map must be uint8 of shape (H, W), got {self.class_map.dtype.name} of {self.class_map.shape}"
            )

    def to_json(self) -> JsonDict:
        """Give `{"segments": [{"label", "class_id", "pixels", "share"}, …]}`, the largest first; no empty class.

        The map itself is an artefact: whoever writes the line writes it as a picture and names it under `mask`.
        """
        pixels = np.zeros(len(self.names), np.int64)
        rows = max(1, _COUNTED // max(1, self.class_map.shape[1]))
        for top in range(0, len(self.class_map), rows):
            pixels += np.bincount(self.class_map[top : top + rows].ravel(), minlength=len(self.names))
        present = [int(c) for c in np.argsort(-pixels, kind="stable") if pixels[c]]
        total = max(1, self.class_map.size)
        return {
            "segments": [
                {
                    "label": self.names[c],
                    "class_id": c,
                    "pixels": int(pixels[c]),
                    "share": round(float(pixels[c]) / total, 6),
                }
                for c in present
            ]
        }


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """A picture made from a picture (or from noise).

    pixels: (H, W, 3) uint8 RGB, or (H, W, 4) uint8 RGBA with straight (not premultiplied) alpha.
    facts: what the pipeline says about it, as JSON types, e.g. {"person_share": 0.31}.
    """

    pixels: NDArray[np.uint8]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] not in (3, 4) or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels must be uint8 of shape (H, W, 3) or (H, W, 4), got {self.pixels.dtype.name} of "
                f"{self.pixels.shape}"
            )

    def to_json(self) -> JsonDict:
        """Give `{"picture": {"height", "width", "channels", …facts}}`; whoever writes the line adds its `file`."""
        height, width, channels = self.pixels.shape
        return {"picture": {"height": height, "width": width, "channels": channels, **self.facts}}


Found: TypeAlias = Labels | Detections | Instances | SemanticMask | RenderedPicture


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image gave nothing: a stable code for programs and a sentence for people."""

    code: ImageErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one image gave: something found, or the reason why not; never both, never neither.

    image: the image's name as the caller gave it, relative to the job's root in a job.
    size: (height, width) of the upright original in pixels; None if it could not be read.
    sha256: of the image's bytes, hex; None if they could not be read.
    conversions: what decoding changed, in words, e.g. "exif orientation 6 applied".
    timings_ms: milliseconds by stage.
    """

    image: str
    found: Found | None = None
    error: Failure | None = None
    size: tuple[int, int] | None = None
    sha256: str | None = None
    conversions: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.found is None) == (self.error is None):
            raise ValueError(f"a result holds either what was found or an error, {self.image!r} has both or neither")

    @property
    def ok(self) -> bool:
        """Whether something could be computed (finding no object is fine too)."""
        return self.error is None

    def to_json(self) -> JsonDict:
        """Give the line of `results.jsonl` for this image, without what belongs to the whole job."""
        line: JsonDict = {"image": self.image, "status": "ok" if self.ok else "failed"}
        if self.size is not None:
            line["height"], line["width"] = self.size
        if self.sha256 is not None:
            line["sha256"] = self.sha256
        if self.found is not None:
            line.update(self.found.to_json())
        if self.error is not None:
            line["error"] = {"code": self.error.code, "message": self.error.message}
        if self.conversions:
            line["conversions"] = list(self.conversions)
        line["timings_ms"] = {stage: round(ms, 2) for stage, ms in self.timings_ms.items()}
        return line


def found_from_json(line: Mapping[str, Any]) -> Labels | Detections | Instances | None:
    """Read what a line of `results.jsonl` found; None for a failed image, and where the line only names a file."""
    if "detections" in line:
        return Detections.from_json(line)
    if "instances" in line:
        return Instances.from_json(line)
    if "labels" in line:
        return Labels.from_json(line)
    return None
