"""Every image has files of its own, each whole or absent, and readable by other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pipelines.palette import colour_of
from pipelines.results import RenderedPicture, SemanticMask
from tests.pipelines.made_images import scene
from workers.artefacts import (
    FOLDERS,
    artefact_name,
    is_complete,
    mask_name,
    overlay_name,
    picture_kind,
    possible_names,
    write_mask,
    write_overlay,
    write_picture,
)


@pytest.mark.parametrize(
    ("image", "overlay"),
    [
        ("a.jpg", "overlays/a.jpg"),
        ("x/y.z/A.JPEG", "overlays/x/y.z/A.JPEG"),
        ("a.png", "overlays/a.png.jpg"),
        ("a.png.jpg", "overlays/a.png.jpg.jpg"),
        ("a.tar.jpg", "overlays/a.tar.jpg"),
        ("photo", "overlays/photo.overlay.jpg"),
        (".jpg", "overlays/.jpg"),
    ],
)
def test_an_overlay_is_a_jpeg_where_the_image_is(image: str, overlay: str) -> None:
    assert overlay_name(image) == overlay


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "masks/a.jpg.png"),
        ("x/y.z/A.PNG", "masks/x/y.z/A.PNG"),
        ("a.jpg.png", "masks/a.jpg.png.png"),
        ("photo", "masks/photo.mask.png"),
    ],
)
def test_a_mask_is_a_png_where_the_image_is(image: str, mask: str) -> None:
    assert mask_name(image) == mask


@pytest.mark.parametrize(
    ("image", "channels", "kind"),
    [
        ("a.jpg", 3, "jpg"),
        ("a.webp", 3, "jpg"),
        ("a", 3, "jpg"),
        ("a.JPG", 4, "png"),
        ("a.png", 3, "png"),
        ("a.TIFF", 3, "png"),
    ],
)
def test_a_picture_is_as_lossless_as_the_image_it_was_made_from(image: str, channels: int, kind: str) -> None:
    assert picture_kind(image, channels) == kind


# pieces that make the names most likely to collide
STEMS = st.lists(
    st.sampled_from(["a", ".jpg", ".JPG", ".png", ".jpeg", ".overlay", ".xyz", ".", "/b"]), min_size=1, max_size=5
)
NAMES = STEMS.map("".join).filter(lambda name: not name.startswith("/") and name not in (".", ".."))


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("kind", ["jpg", "png"])
@given(one=NAMES, other=NAMES)
@example(one="a", other="a.jpg")
@example(one="a.png", other="a.png.jpg")
@example(one="a.overlay", other="a.overlay.jpg")
@example(one="a", other="a.mask.png")
def test_no_two_images_share_a_file(folder: str, kind: str, one: str, other: str) -> None:
    assert (artefact_name(folder, one, kind) == artefact_name(folder, other, kind)) == (one == other)


@given(one=NAMES, other=NAMES)
def test_no_picture_has_the_name_of_another_kind_of_file(one: str, other: str) -> None:
    assert len(set(possible_names(one))) == 4
    assert set(possible_names(one)).isdisjoint(possible_names(other)) == (one != other)


@given(NAMES)
def test_an_overlay_is_always_named_as_a_jpeg_and_a_mask_as_a_png(image: str) -> None:
    assert overlay_name(image).lower().endswith((".jpg", ".jpeg"))
    assert mask_name(image).lower().endswith(".png")


def test_a_written_overlay_is_that_picture_and_nothing_else_is_left(tmp_path: Path) -> None:
    picture = np.full((30, 40, 3), (200, 40, 90), np.uint8)

    write_overlay(tmp_path / "overlays" / "x" / "a.jpg", picture)

    read = np.asarray(Image.open(tmp_path / "overlays/x/a.jpg").convert("RGB")).astype(int)
    assert np.abs(read - picture).max() <= 3
    assert [path.name for path in (tmp_path / "overlays" / "x").iterdir()] == ["a.jpg"]


def test_an_overlay_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_overlay(tmp_path / "a.jpg", np.zeros((4, 4, 3), np.uint8))

    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


CLASSES = ("__background__", "red cell", "white cell", "platelet")


def test_a_mask_read_by_pillow_has_the_class_ids_as_pixels_and_our_colours_as_palette(tmp_path: Path) -> None:
    classes = np.random.default_rng(5).integers(0, 4, (45, 62)).astype(np.uint8)

    write_mask(tmp_path / "masks" / "a.jpg.png", SemanticMask(classes, CLASSES))

    with Image.open(tmp_path / "masks" / "a.jpg.png") as opened:
        assert (opened.format, opened.mode, opened.info.get("transparency")) == ("PNG", "P", None)
        assert np.array_equal(np.array(opened), classes)
        coloured = np.array(opened.convert("RGB"))
    assert (coloured[classes == 0] == 0).all()
    assert all((coloured[classes == k] == colour_of(k - 1)).all() for k in (1, 2, 3))


def test_a_mask_has_eight_bits_a_pixel_however_few_its_classes(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", SemanticMask(np.zeros((9, 7), np.uint8), CLASSES))

    header = (tmp_path / "a.png").read_bytes()[8:33]  # IHDR: width, height, bit depth, colour type 3 = palette

    assert header[8:18] == bytes([0, 0, 0, 7, 0, 0, 0, 9, 8, 3])


@pytest.mark.parametrize("count", [1, 2, 21, 256])
def test_a_mask_of_any_number_of_classes_is_written(tmp_path: Path, count: int) -> None:
    classes = (np.arange(400, dtype=np.uint16) % count).astype(np.uint8).reshape(20, 20)

    write_mask(tmp_path / "a.png", SemanticMask(classes, tuple(f"class {k}" for k in range(count))))

    with Image.open(tmp_path / "a.png") as opened:
        assert np.array_equal(np.array(opened), classes)


def test_a_cut_out_keeps_every_colour_and_its_alpha(tmp_path: Path) -> None:
    pixels = np.dstack([scene(), np.random.default_rng(1).integers(0, 256, (45, 62)).astype(np.uint8)])

    name = write_picture(tmp_path, "x/a.jpg", RenderedPicture(pixels))

    assert name == "pictures/x/a.jpg.png"
    with Image.open(tmp_path / name) as opened:
        assert opened.mode == "RGBA"
        assert np.array_equal(np.array(opened), pixels)


def test_a_picture_made_from_a_lossless_one_is_lossless(tmp_path: Path) -> None:
    name = write_picture(tmp_path, "a.png", RenderedPicture(scene()))

    with Image.open(tmp_path / name) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        assert np.array_equal(np.array(opened), scene())


def test_a_picture_made_from_a_jpeg_is_a_jpeg_close_to_it(tmp_path: Path) -> None:
    name = write_picture(tmp_path, "a.jpg", RenderedPicture(scene()))

    with Image.open(tmp_path / name) as opened:
        assert opened.format == "JPEG"
        assert np.abs(np.array(opened, int) - scene()).mean() < 3


def test_the_picture_of_other_parameters_gives_way(tmp_path: Path) -> None:
    cut_out = np.dstack([scene(), scene()[..., 0]])
    write_picture(tmp_path, "a.jpg", RenderedPicture(cut_out))
    write_picture(tmp_path, "a.jpg", RenderedPicture(scene()))
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.jpg"]

    write_picture(tmp_path, "a.jpg", RenderedPicture(cut_out))
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.jpg.png"]


@pytest.mark.parametrize(
    ("line", "needs", "with_overlays"),
    [
        ({"detections": [], "overlay": "overlays/a.jpg"}, [], ["overlays/a.jpg"]),
        ({"segments": [], "mask": "masks/a.jpg.png"}, ["masks/a.jpg.png"], None),
        (
            {"segments": [], "mask": "masks/a.jpg.png", "overlay": "overlays/a.jpg"},
            ["masks/a.jpg.png"],
            ["masks/a.jpg.png", "overlays/a.jpg"],
        ),
        ({"picture": {"file": "pictures/a.jpg"}}, ["pictures/a.jpg"], ["pictures/a.jpg"]),
        ({"picture": {}}, None, None),
        ({"segments": []}, None, None),
    ],
)
def test_a_result_is_complete_when_the_files_it_names_are_there(
    tmp_path: Path, line: dict[str, object], needs: list[str] | None, with_overlays: list[str] | None
) -> None:
    for overlays, files in ((False, needs), (True, with_overlays)):
        output = tmp_path / str(overlays)
        for name in files or ():
            assert not is_complete(output, line, overlays=overlays)
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).touch()
        assert is_complete(output, line, overlays=overlays) == (files is not None)
