"""Lines of `results.jsonl` as the formats read them, made from shapes whose outlines and areas are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.errors import ImageErrorCode
from pipelines.masks import PlacedMask
from pipelines.results import Detections, Failure, Found, Instances, Labels, Result

NAMES = ("cat", "dog", "größe 日本")
HEIGHT, WIDTH = 120, 200


def line(image: str, found: Found | None, code: ImageErrorCode = "truncated") -> dict[str, Any]:
    error = Failure(code, "it ends early") if found is None else None
    size = (HEIGHT, WIDTH) if found is not None else None
    return Result(image, found, error, size=size).to_json()


def detections(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    return Detections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for class_id, _, _ in rows], np.int64),
        tuple(NAMES[class_id] for class_id, _, _ in rows),
    )


def instances(*rows: tuple[int, float, np.ndarray]) -> Instances:
    masks = tuple(PlacedMask.cut(whole) for _, _, whole in rows)
    boxes = [(m.x, m.y, m.x + m.pixels.shape[1], m.y + m.pixels.shape[0]) for m in masks]
    of_boxes = detections(*((c, s, box) for (c, s, _), box in zip(rows, boxes, strict=True)))
    return Instances(of_boxes.boxes, of_boxes.scores, of_boxes.class_ids, of_boxes.names, masks, (HEIGHT, WIDTH))


def labels(*rows: tuple[int, float]) -> Labels:
    return Labels(
        np.array([class_id for class_id, _ in rows], np.int64),
        np.array([score for _, score in rows], np.float32),
        tuple(NAMES[class_id] for class_id, _ in rows),
    )


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside: np.ndarray = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
    return inside


def ring(x: float, y: float, radius: float, hole: float) -> np.ndarray:
    return disc(x, y, radius) & ~disc(x, y, hole)


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[y1:y2, x1:x2] = True
    return inside


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.linspace(0, 255, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    kind = {".jpg": "JPEG", ".png": "PNG"}.get(path.suffix, "JPEG")
    Image.fromarray(shades).save(path, kind)
    return path
