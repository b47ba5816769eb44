"""Each image's file has a place of its own, inside the folder, under a name that a text file can hold."""

from __future__ import annotations

import errno
import os
import tempfile
from itertools import islice
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.formats.placing import claim, legible, link, stems, way_to


def placed(folder: Path, *images: str, suffix: str = ".txt") -> list[str]:
    return [claim(folder, stems(image), suffix, image.encode("utf-8", "surrogateescape")) for image in images]


def test_a_file_is_called_like_its_image_and_the_second_keeps_the_suffix(tmp_path: Path) -> None:
    names = placed(tmp_path, "a.jpg", "a.png", "a.png.jpg", "sub/a.jpg", "b.tar.jpg", "photo")

    assert names == ["a", "a.png", "a.png.jpg", "sub/a", "b.tar", "photo"]
    assert (tmp_path / "a.png.txt").read_text() == "a.png"


PARTS = st.lists(st.sampled_from(["a", ".jpg", ".png", ".txt", ".", "..", "/", " ", "\n", "\udce9", "é"]), min_size=1)


@given(st.lists(PARTS.map("".join), min_size=1, max_size=8, unique=True))
@example(["a.jpg", "a.txt/b.jpg"])
@example(["a.txt/b.jpg", "a.jpg"])
@example(["../../etc/passwd", "/etc/passwd"])
def test_no_two_images_share_a_file_and_none_is_outside(images: list[str]) -> None:
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "inside"
        folder.mkdir()

        names = placed(folder, *images)

        assert len({os.path.realpath(folder / f"{name}.txt") for name in names}) == len(images)
        for image, name in zip(images, names, strict=True):
            assert (folder / f"{name}.txt").read_bytes() == image.encode("utf-8", "surrogateescape")
        assert [path.name for path in Path(top).iterdir()] == ["inside"]


@given(PARTS.map("".join))
@example("...jpg")
@example("..jpg")
@example(". .jpg")
def test_names_stay_in_the_folder_and_survive_a_list_of_names(image: str) -> None:
    for name in stems(image):
        assert ".." not in PurePosixPath(name).parts
        assert not name.startswith("/")
        assert name.encode().decode().splitlines() == [name]
        assert name == name.strip()


def test_a_folder_with_the_name_that_means_something_to_the_reader_is_called_otherwise() -> None:
    assert next(stems("train/images/a.jpg", avoid="images")) == "train/images_/a"


def test_a_name_too_long_for_a_file_is_cut_and_marked(tmp_path: Path) -> None:
    image = "ü" * 125 + ".jpg"  # 254 bytes, and .json makes 255; a second such image has no room

    first, second = placed(tmp_path, image, image.replace(".jpg", ".png"), suffix=".json")

    assert first == "ü" * 125
    assert second.startswith("ü" * 60 + "~")


def test_the_mark_of_a_replaced_name_depends_on_the_name_alone() -> None:
    first, other = (list(islice(stems(name), 1)) for name in ("caf\udce9.jpg", "caf\udce8.jpg"))

    assert first == list(islice(stems("caf\udce9.jpg"), 1))
    assert first != other
    assert first[0].startswith("caf_~")


def test_what_no_text_file_holds_becomes_a_replacement_character() -> None:
    assert legible("a\udce9b\x00c\u2028d\uffffe \x9f 日本 😀") == "a\ufffdb\ufffdc\ufffdd\ufffde \ufffd 日本 😀"


def test_a_trouble_that_is_no_matter_of_names_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)

    with pytest.raises(OSError, match="No space left"):
        claim(tmp_path, stems("a.jpg"), ".txt", b"")


def test_a_link_leads_to_the_picture_also_after_both_have_moved(tmp_path: Path) -> None:
    (tmp_path / "all/photos/x").mkdir(parents=True)
    (tmp_path / "all/photos/x/a.jpg").write_bytes(b"picture")
    (tmp_path / "all/out").mkdir()

    assert link(tmp_path / "all/out/images/x/a.jpg", tmp_path / "all/photos", "x/a.jpg")
    (tmp_path / "all").rename(tmp_path / "moved")

    assert (tmp_path / "moved/out/images/x/a.jpg").read_bytes() == b"picture"


def test_a_link_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken.jpg").touch()

    assert not link(tmp_path / "taken.jpg", tmp_path, "a.jpg")


def test_the_way_to_a_picture_goes_round_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "short").symlink_to(tmp_path / "real/deep")

    assert way_to(tmp_path / "photos", "a.jpg", tmp_path / "short") == "../../photos/a.jpg"
