"""One picture of each kind of drawing, as somebody looked at it and found it good.

`golden/` holds three photographs (astronaut: NASA, public domain; chelsea, coffee: CC0; from scikit-image, reduced to
320 pixels and 20 colours) and, for each drawing, the picture expected. What was found in them is made by hand. After a
change that is meant to be seen, draw them anew, look at every one, and commit them with the change; two are made by a
network that ships:

    python -m tests.pipelines.test_golden
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines.draw import draw
from pipelines.masks import PlacedMask
from pipelines.pipeline import Pipeline
from pipelines.results import Detections, Found, Instances, Labels, RenderedPicture, SemanticMask

GOLDEN = Path(__file__).parent / "golden"
STYLE = GOLDEN / "tiny-style.onnx"  # tests/exports/tiny_style.py makes it


def photograph(name: str) -> np.ndarray:
    with Image.open(GOLDEN / f"{name}.png") as opened:
        return np.array(opened.convert("RGB"))


def outline(size: tuple[int, int], *points: tuple[int, int]) -> np.ndarray:
    """A smooth blob around the points, (H, W) bool."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.array(points, np.int32)], 255)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 3) > 127, np.bool_)


def cup_and_spoon(size: tuple[int, int]) -> list[tuple[np.ndarray, int, str]]:
    cup = outline(size, (95, 30), (130, 8), (190, 10), (217, 40), (212, 95), (180, 122), (135, 118), (105, 85))
    saucer = np.zeros(size, np.uint8)
    cv2.ellipse(saucer, (150, 126), (110, 76), 0, 0, 360, 1, cv2.FILLED)
    spoon = outline(size, (110, 150), (118, 140), (170, 158), (200, 122), (216, 130), (210, 152), (180, 170))
    return [(cup, 41, "cup"), (saucer.astype(np.bool_) & ~cup, 45, "bowl"), (spoon, 44, "spoon")]


def a_classified_cat() -> tuple[np.ndarray, Found]:
    names = ("tabby", "tiger cat", "Egyptian cat")
    return photograph("chelsea"), Labels(np.array([281, 282, 285]), np.array([0.61, 0.27, 0.08], np.float32), names)


def detections_on_a_table() -> tuple[np.ndarray, Found]:
    boxes = np.array([[94, 8, 218, 122], [40, 60, 258, 203], [109, 120, 217, 171]], np.float32)
    scores, ids = np.array([0.94, 0.71, 0.55], np.float32), np.array([41, 45, 44])
    return photograph("coffee"), Detections(boxes, scores, ids, ("cup", "bowl", "spoon"))


def instances_on_a_table() -> tuple[np.ndarray, Found]:
    picture = photograph("coffee")
    rows = cup_and_spoon(picture.shape[:2])
    masks = tuple(PlacedMask.cut(mask) for mask, _, _ in rows)
    boxes = [(m.x, m.y, m.x + m.pixels.shape[1], m.y + m.pixels.shape[0]) for m in masks]
    return picture, Instances(
        np.array(boxes, np.float32),
        np.array([0.94, 0.71, 0.55], np.float32),
        np.array([class_id for _, class_id, _ in rows]),
        tuple(name for _, _, name in rows),
        masks,
        picture.shape[:2],
    )


def a_segmented_cat() -> tuple[np.ndarray, Found]:
    picture = photograph("chelsea")
    size = picture.shape[:2]
    head = (92, 20), (130, 45), (185, 42), (222, 15), (236, 70), (238, 130), (205, 180), (140, 185), (95, 140), (85, 75)
    body = (0, 120), (85, 75), (140, 185), (205, 180), (238, 130), (319, 150), (319, 211), (0, 211)
    class_map = np.zeros(size, np.uint8)
    for class_id, mask in ((2, outline(size, *body)), (1, outline(size, *head))):
        class_map[mask] = class_id
    return picture, SemanticMask(class_map, ("background", "head", "body"))


def an_astronaut_cut_out() -> tuple[np.ndarray, Found]:
    picture = photograph("astronaut")
    height, width = picture.shape[:2]
    person = outline((height, width), (100, 55), (120, 18), (165, 12), (188, 45), (182, 85), (196, 140), (240, 190),
                     (245, 239), (15, 239), (35, 170), (70, 135), (90, 105))  # fmt: skip
    alpha = cv2.GaussianBlur(np.where(person, 255, 0).astype(np.uint8), (0, 0), 2)
    return picture, RenderedPicture(np.dstack([picture, alpha]))


def a_blurred_background() -> tuple[np.ndarray, Found]:
    picture = np.ascontiguousarray(photograph("astronaut")[:205])  # without her helmet: is it a part of her or not?
    return picture, made(pipelines.load("selfie", {"blur": 3}, provider="cpu"), picture)


def a_repainted_cup() -> tuple[np.ndarray, Found]:
    picture = photograph("coffee")
    return picture, made(pipelines.load("style-wave", provider="cpu"), picture)


def made(pipeline: Pipeline, picture: np.ndarray) -> Found:
    found = pipeline(picture).found
    assert found is not None
    return found


SCENES: dict[str, Callable[[], tuple[np.ndarray, Found]]] = {
    "classify": a_classified_cat,
    "detect": detections_on_a_table,
    "instances": instances_on_a_table,
    "segment": a_segmented_cat,
    "portrait": an_astronaut_cut_out,
    "portrait-blurred": a_blurred_background,
    "stylize": a_repainted_cup,
}


@pytest.mark.parametrize("name", SCENES)
def test_a_drawing_looks_as_it_did_when_it_was_found_good(name: str) -> None:
    picture, found = SCENES[name]()
    with Image.open(GOLDEN / f"drawn-{name}.png") as opened:
        expected = np.array(opened.convert("RGB"), int)

    drawn = draw(picture, picture.shape[:2], found).astype(int)

    assert drawn.shape == expected.shape
    difference = np.abs(drawn - expected).max(axis=2)
    # another FreeType or OpenCV may render edges a little differently, but no area and no line may move
    assert difference.mean() < 1.5
    assert (difference > 48).mean() < 0.005


def main() -> None:
    for name, scene in SCENES.items():
        picture, found = scene()
        Image.fromarray(draw(picture, picture.shape[:2], found)).save(GOLDEN / f"drawn-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
