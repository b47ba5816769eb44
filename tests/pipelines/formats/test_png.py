"""Masks as PNG: what Pillow reads as pixel values are ids, what a viewer shows are the classes' colours."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.formats.png import write_masks
from pipelines.palette import colour_of
from tests.pipelines.formats.made_lines import HEIGHT, NAMES, WIDTH, disc, instances, line, rectangle

LOW, HIGH = rectangle(50, 50, 150, 100), disc(60, 60, 30)


def test_values_are_classes_and_objects_and_the_better_object_lies_on_top(tmp_path: Path) -> None:
    write_masks([line("sub/a.jpg", instances((2, 0.9, HIGH), (0, 0.5, LOW)))], NAMES, tmp_path)

    with Image.open(tmp_path / "classes/sub/a.png") as classes, Image.open(tmp_path / "objects/sub/a.png") as objects:
        assert classes.mode == objects.mode == "P"
        assert np.array_equal(np.array(classes), np.where(HIGH, 3, np.where(LOW, 1, 0)))
        assert np.array_equal(np.array(objects), np.where(HIGH, 1, np.where(LOW, 2, 0)))
        seen = np.array(classes.convert("RGB"))
    assert tuple(seen[60, 60]) == colour_of(2)
    assert tuple(seen[90, 140]) == colour_of(0)
    assert tuple(seen[0, 0]) == (0, 0, 0)


def test_a_picture_without_objects_is_black_and_a_failed_one_is_not_there(tmp_path: Path) -> None:
    write_masks([line("a.jpg", instances()), line("broken.jpg", None)], NAMES, tmp_path)

    assert [path.name for path in (tmp_path / "classes").iterdir()] == ["a.png"]
    for kind in ("classes", "objects"):
        with Image.open(tmp_path / kind / "a.png") as mask:
            assert mask.size == (WIDTH, HEIGHT)
            assert not np.array(mask).any()


def test_the_table_says_what_a_value_means(tmp_path: Path) -> None:
    write_masks([], NAMES, tmp_path)

    with (tmp_path / "classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["value"], row["name"]) for row in rows] == [("0", ""), ("1", "cat"), ("2", "dog"), ("3", "größe 日本")]
    assert [int(rows[3][c]) for c in ("red", "green", "blue")] == list(colour_of(2))


@pytest.mark.parametrize(("count", "mode"), [(255, "P"), (256, "I;16")])
def test_more_than_255_objects_need_sixteen_bits(tmp_path: Path, count: int, mode: str) -> None:
    rows = [(0, 0.5, rectangle(x := n % 100, y := n // 100, x + 1, y + 1)) for n in range(count)]

    write_masks([line("a.jpg", instances(*rows))], NAMES, tmp_path)

    with Image.open(tmp_path / "objects/a.png") as objects:
        assert objects.mode == mode
        assert np.array(objects).max() == count


def test_more_than_255_classes_need_sixteen_bits(tmp_path: Path) -> None:
    row = line("a.jpg", instances((2, 0.5, LOW)))
    row["instances"][0]["class_id"] = 300

    write_masks([row], tuple(map(str, range(301))), tmp_path)

    with Image.open(tmp_path / "classes/a.png") as classes:
        assert set(np.unique(np.array(classes))) == {0, 301}
