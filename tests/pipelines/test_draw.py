from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipelines.draw import colour_of, draw
from pipelines.palette import INK, PAPER, luminance, text_colour_on
from pipelines.results import Detections, Labels
from pipelines.text import ELLIPSIS, fit, text_mask, text_width, writable

DATA = Path(os.environ.get("PIXELMILL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def detections(*rows: tuple[float, float, float, float, float, int, str]) -> Detections:
    """Rows of x1, y1, x2, y2, score, class id, name."""
    return Detections(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        np.array([row[5] for row in rows], np.int64),
        tuple(row[6] for row in rows),
    )


def labels(*rows: tuple[str, float]) -> Labels:
    return Labels(
        np.arange(len(rows), dtype=np.int64), np.array([row[1] for row in rows], np.float32), tuple(r[0] for r in rows)
    )


def grey(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_the_picture_given_is_left_as_it_was() -> None:
    picture = grey(120, 160)

    drawn = draw(picture, (120, 160), detections((20, 30, 100, 90, 0.9, 0, "cat")))

    assert (picture == 128).all()
    assert not np.shares_memory(drawn, picture)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8


def test_a_box_is_drawn_on_its_edges_in_the_colour_of_its_class() -> None:
    drawn = draw(grey(480, 640), (480, 640), detections((100, 200, 300, 400, 0.9, 7, "truck")))

    assert tuple(drawn[300, 100]) == colour_of(7)
    assert tuple(drawn[300, 299]) == colour_of(7)
    assert tuple(drawn[200, 290]) == colour_of(7)
    assert tuple(drawn[399, 200]) == colour_of(7)
    assert tuple(drawn[300, 200]) == (128, 128, 128)


def test_boxes_in_pixels_of_the_original_are_scaled_to_a_reduced_picture() -> None:
    drawn = draw(grey(240, 320), (960, 1280), detections((400, 400, 1200, 800, 0.9, 3, "car")))

    assert tuple(drawn[150, 100]) == colour_of(3)
    assert tuple(drawn[150, 299]) == colour_of(3)
    assert tuple(drawn[199, 200]) == colour_of(3)
    assert tuple(drawn[150, 200]) == (128, 128, 128)


def test_the_better_of_two_boxes_on_one_edge_is_on_top_whatever_their_order() -> None:
    worse, better = (50, 150, 400, 300, 0.4, 1, "dog"), (50, 150, 200, 460, 0.8, 2, "cat")

    first = draw(grey(480, 640), (480, 640), detections(worse, better))
    second = draw(grey(480, 640), (480, 640), detections(better, worse))

    assert tuple(first[250, 50]) == colour_of(2)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (16, 16), (33, 47), (300, 300)])
@pytest.mark.parametrize(
    "found",
    [
        detections(),
        detections((0, 0, 1, 1, 0.5, 0, "a")),
        detections((0, 0, 0.2, 0.2, 0.5, 0, "a"), (-5, -5, 9000, 9000, 1.0, 79, "a name that is far too long" * 9)),
        detections(*[(i, i, i + 30, i + 20, 0.01 * i, i, "thing") for i in range(100)]),
    ],
)
def test_pictures_and_boxes_of_every_size_are_drawn(size: tuple[int, int], found: Detections) -> None:
    drawn = draw(grey(*size), size, found)

    assert drawn.shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (16, 16), (28, 28), (100, 140)])
def test_a_small_picture_gets_its_caption_beside_it(size: tuple[int, int]) -> None:
    drawn = draw(grey(*size), size, labels(("seven", 0.98), ("one", 0.01)))

    assert drawn.shape[1] > size[1] + 100
    assert drawn.shape[0] >= size[0]
    assert (drawn[:, 0] == 128).all(axis=1).any()


def test_a_picture_of_usual_size_keeps_its_size_and_its_upper_part_under_a_caption() -> None:
    drawn = draw(grey(480, 640), (480, 640), labels(("tabby", 0.6), ("tiger cat", 0.3), ("lynx", 0.1)))

    assert drawn.shape == (480, 640, 3)
    assert (drawn[: 480 * 6 // 10] == 128).all()
    assert (drawn[470, 600] < 60).all()


def test_bars_are_as_long_as_the_probabilities() -> None:
    drawn = draw(grey(480, 640), (480, 640), labels(("a", 1.0), ("b", 0.5), ("c", 0.25)))

    lengths = [int((drawn == colour_of(k)).all(axis=2).any(axis=0).sum()) for k in range(3)]

    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.01)
    assert lengths[2] / lengths[0] == pytest.approx(0.25, abs=0.01)


def test_no_label_leaves_the_picture_as_it_is() -> None:
    drawn = draw(grey(100, 100), (100, 100), labels())

    assert np.array_equal(drawn, grey(100, 100))


def test_the_same_input_gives_the_same_pixels_in_many_threads() -> None:
    found = detections(*[(9 * i, 7 * i, 9 * i + 90, 7 * i + 60, 1 - i / 60, i, f"thing {i}") for i in range(40)])
    picture = grey(480, 640)
    expected = draw(picture, (480, 640), found)
    drawn: list[np.ndarray] = []

    def work() -> None:
        drawn.extend(draw(picture, (480, 640), found) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(drawn) == 40
    assert all(np.array_equal(one, expected) for one in drawn)


def chips_of(drawn: np.ndarray, class_ids: range) -> list[int]:
    """Pixels in the ink of a chip's text that lie on each class's colour: a chip is there if there are some."""
    return [int((drawn == colour_of(k)).all(axis=2).sum()) for k in class_ids]


def test_two_boxes_at_the_same_place_get_chips_that_do_not_cover_each_other() -> None:
    one = detections((200, 200, 400, 400, 0.9, 0, "cat"))
    two = detections((200, 200, 400, 400, 0.9, 0, "cat"), (200, 200, 400, 400, 0.8, 1, "dog"))
    frame_only = 4 * 200 * 3  # a generous bound of the pixels of a frame

    chip = chips_of(draw(grey(480, 640), (480, 640), one), range(1))[0]
    both = chips_of(draw(grey(480, 640), (480, 640), two), range(2))

    assert both[0] == chip
    assert 400 < both[1] < frame_only


def test_chips_stay_inside_the_picture() -> None:
    found = detections((0, 0, 40, 40, 0.9, 0, "cat"), (600, 440, 640, 480, 0.8, 1, "a very long name indeed"))

    drawn = draw(grey(480, 640), (480, 640), found)

    # the chip of the second box needs more width than its box has: it grows to the left, where it is whole
    assert (drawn[:, :600] == colour_of(1)).all(axis=2).any()


def test_a_crowd_leaves_most_of_the_picture_to_see() -> None:
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 400, (100, 2))
    rows = [
        (x, y, x + 60, y + 60, s, k, "teddy bear")
        for k, ((x, y), s) in enumerate(zip(corners, rng.random(100), strict=True))
    ]

    drawn = draw(grey(480, 640), (480, 640), detections(*rows))

    assert (drawn == 128).all(axis=2).mean() > 0.55


def test_neighbouring_classes_differ_and_colours_are_stable() -> None:
    colours = [colour_of(k) for k in range(80)]

    assert len(set(colours)) == 80
    steps = np.abs(np.diff(np.array(colours, int), axis=0)).sum(axis=1)
    assert steps.min() > 120
    assert colour_of(0) == (255, 106, 101)  # as ever: pictures of two runs lie side by side


@pytest.mark.parametrize("class_id", [*range(200), 999, 20_000])
def test_the_text_of_a_chip_has_the_contrast_wcag_asks_for(class_id: int) -> None:
    ground = colour_of(class_id)
    low, high = sorted([luminance(ground), luminance(text_colour_on(ground))])

    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_luminance_is_that_of_wcag() -> None:
    # Relative luminance of pure red, green and blue are its coefficients; white is 1, black 0.
    assert luminance((255, 0, 0)) == pytest.approx(0.2126)
    assert luminance((0, 255, 0)) == pytest.approx(0.7152)
    assert luminance(PAPER) == pytest.approx(1.0)
    assert text_colour_on((255, 255, 0)) == INK
    assert text_colour_on((0, 0, 120)) == PAPER


@pytest.mark.parametrize("width", [0, 5, 20, 60, 200])
def test_a_name_is_shortened_to_the_width_there_is(width: int) -> None:
    shortened = fit("Staffordshire bullterrier, Staffordshire bull terrier", 14, width)

    assert text_width(shortened, 14) <= width
    assert shortened == "" or shortened.endswith(ELLIPSIS)


def test_a_name_that_fits_is_left_alone_but_for_line_breaks() -> None:
    assert fit("tabby\n cat", 14, 500) == "tabby cat"


@pytest.mark.parametrize("name", ["漢字", "\udc80\udcff", "\x00\x1b[31m", "é" * 500, "", " ", "🐈"])
def test_odd_names_do_not_stop_the_drawing(name: str) -> None:
    drawn = draw(grey(240, 320), (240, 320), detections((10, 60, 200, 200, 0.5, 0, name)))
    captioned = draw(grey(240, 320), (240, 320), labels((name, 0.5)))

    assert drawn.shape == captioned.shape == (240, 320, 3)


def test_lines_of_one_size_share_their_height() -> None:
    assert text_mask("ace", 20).shape[0] == text_mask("Ågj", 20).shape[0]


def test_drawing_needs_no_onnxruntime() -> None:
    code = "import sys, pipelines.draw; sys.exit('onnxruntime' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_true_boxes_on_photographs_are_drawn_inside_them() -> None:
    folder = DATA / "coco128"
    if not folder.is_dir():
        pytest.skip(f"no COCO photographs in {folder.name}; set PIXELMILL_DATA")
    from PIL import Image

    for path in sorted(folder.glob("images/**/*.jpg"))[:12]:
        with Image.open(path) as opened:
            picture = np.array(opened.convert("RGB"))
        height, width = picture.shape[:2]
        truth = folder / "boxes" / f"{path.stem}.txt"
        if not truth.exists():
            continue
        rows = np.loadtxt(truth, ndmin=2)
        centre, size = rows[:, 1:3] * [width, height], rows[:, 3:5] * [width, height]
        found = Detections(
            np.hstack([centre - size / 2, centre + size / 2]).astype(np.float32),
            np.linspace(0.9, 0.3, len(rows)).astype(np.float32),
            rows[:, 0].astype(np.int64),
            tuple(f"class {int(k)}" for k in rows[:, 0]),
        )

        drawn = draw(picture, (height, width), found)

        assert drawn.shape == picture.shape
        x1, y1, _, y2 = found.boxes[0].round().astype(int)
        assert tuple(drawn[(y1 + y2) // 2, max(x1, 0)]) in {colour_of(int(k)) for k in found.class_ids} | {INK, PAPER}


def test_letters_the_font_lacks_are_written_as_their_kin() -> None:
    assert writable("café 3×4 Ångström ø") == "cafe 3x4 Angstrom o"
    assert writable("plain") == "plain"
