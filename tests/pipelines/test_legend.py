"""Classes shaded into a picture, and the legend that explains them."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.draw import draw, with_classes
from pipelines.legend import shown_share
from pipelines.palette import BLACK, PAPER, colour_of, is_background, luminance, mask_palette
from pipelines.results import SemanticMask

CELLS = ("background", "red cell", "white cell", "platelet")


def plain(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def classes(height: int = 480, width: int = 640, names: tuple[str, ...] = CELLS) -> SemanticMask:
    """Class 1 in a block at the lower right, the first class everywhere else."""
    class_map = np.zeros((height, width), np.uint8)
    class_map[height // 2 :, width // 2 :] = 1
    return SemanticMask(class_map, names)


def test_a_class_is_translucent_in_its_colour_and_outlined_in_it_and_the_background_is_left_alone() -> None:
    drawn = draw(plain(480, 640), (480, 640), classes())

    part = (drawn[400, 500].astype(float) - 128) / (np.array(colour_of(0), float) - 128)
    assert 0.4 < part.mean() < 0.6
    assert np.ptp(part) < 0.08
    assert tuple(drawn[400, 320]) == colour_of(0)
    assert tuple(drawn[100, 500]) == (128, 128, 128)


def test_a_first_class_that_is_no_background_is_drawn() -> None:
    drawn = draw(plain(480, 640), (480, 640), classes(names=("road", "car")))

    assert tuple(drawn[100, 500]) != (128, 128, 128)


def test_the_legend_stands_where_it_hides_least() -> None:
    found = classes()

    drawn = draw(plain(480, 640), (480, 640), found)

    legend = (drawn < 60).all(axis=2)
    assert legend.sum() > 1000
    assert not legend[found.class_map == 1].any()


@pytest.mark.parametrize("value", [0, 90, 128, 200, 255])
def test_the_legend_is_legible_on_any_background(value: int) -> None:
    drawn = draw(plain(480, 640, value), (480, 640), classes())
    changed = np.argwhere((drawn[:, :300] != value).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    panel = drawn[top : bottom + 1, left : right + 1].reshape(-1, 3)

    ground = tuple(int(v) for v in np.median(panel, axis=0))
    contrast = (luminance(PAPER) + 0.05) / (luminance(ground) + 0.05)  # type: ignore[arg-type]
    assert contrast >= 4.5  # WCAG 2.2, 1.4.3
    assert (panel == PAPER).all(axis=1).any()
    assert (panel == colour_of(0)).all(axis=1).sum() > 50


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (16, 16), (60, 80), (150, 200)])
def test_a_small_picture_gets_its_legend_beside_it_and_is_not_hidden(size: tuple[int, int]) -> None:
    drawn = draw(plain(*size), size, classes(*size, names=("road", "a class with quite a long name")))

    assert drawn.shape[1] > size[1] + 60
    assert drawn.shape[0] >= size[0]


def test_no_class_leaves_the_picture_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)

    drawn = draw(picture, (90, 120), SemanticMask(np.zeros((90, 120), np.uint8), CELLS))

    assert np.abs(drawn.astype(int) - picture).max() <= 1
    assert not np.shares_memory(drawn, picture)


def test_without_a_legend_the_picture_keeps_its_size() -> None:
    drawn = with_classes(plain(60, 80), classes(60, 80), explained=False)

    assert drawn.shape == (60, 80, 3)


def test_a_class_map_of_the_original_is_scaled_to_a_reduced_picture() -> None:
    drawn = draw(plain(480, 640), (1920, 2560), classes(1920, 2560))

    assert tuple(drawn[400, 320]) == colour_of(0)
    assert tuple(drawn[100, 500]) == (128, 128, 128)


@pytest.mark.parametrize("count", [30, 255, 256])
def test_any_number_of_classes_leaves_most_of_the_picture_to_see(count: int) -> None:
    class_map = (np.arange(480 * 640).reshape(480, 640) // 1200 % count).astype(np.uint8)

    drawn = draw(plain(480, 640, 255), (480, 640), SemanticMask(class_map, tuple(f"class {k}" for k in range(count))))

    assert drawn.shape == (480, 640, 3)
    assert (drawn < 60).all(axis=2).mean() < 0.2


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0.0%"), (0.0004, "< 0.1%"), (0.0006, "0.1%"), (0.5, "50.0%"), (1.0, "100.0%")]
)
def test_a_share_is_written_in_per_cent_and_never_as_nothing_when_there_is_some(share: float, shown: str) -> None:
    assert shown_share(share) == shown


@pytest.mark.parametrize("name", ["background", "Background", "__background__", "_background_", "bg"])
def test_a_background_is_known_by_its_usual_names(name: str) -> None:
    assert is_background(name)
    assert mask_palette((name, "cell")) == [BLACK, colour_of(0)]


@pytest.mark.parametrize("name", ["", "backgrounds", "sky", "person"])
def test_other_classes_are_not_taken_for_a_background(name: str) -> None:
    assert not is_background(name)


def test_a_class_has_one_colour_whichever_pipeline_found_it() -> None:
    assert mask_palette(("background", "red cell", "white cell")) == [BLACK, colour_of(0), colour_of(1)]
    assert mask_palette(("red cell", "white cell")) == [colour_of(0), colour_of(1)]
    # Pascal VOC counts aeroplane, bicycle, … person is its 15th; COCO's detectors begin with person, bicycle, car
    voc = ("__background__", "aeroplane", "bicycle", "person", "tvmonitor")
    assert mask_palette(voc) == [BLACK, colour_of(4), colour_of(1), colour_of(0), colour_of(62)]


def test_a_class_list_of_which_some_are_everyday_things_keeps_its_own_order() -> None:
    assert mask_palette(("road", "person", "sky")) == [colour_of(0), colour_of(1), colour_of(2)]
    assert mask_palette(("person", "person")) == [colour_of(0), colour_of(1)]
