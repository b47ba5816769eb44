"""What SRC means: which files are found, under which names, in which order."""

from __future__ import annotations

import os
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import SourceError
from workers.folder import Found, open_source, sort_key


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def names_of(text: str | Path) -> list[str]:
    return [found.name for found in open_source(str(text)).scan()]


def test_a_file_is_its_own_source(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")

    source = open_source(str(tmp_path / "a.jpg"))

    assert source.root == tmp_path
    assert [found.name for found in source.scan()] == ["a.jpg"]
    assert source.count() == 1


def test_a_file_named_outright_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    assert names_of(touch(tmp_path, "scan.xyz") / "scan.xyz") == ["scan.xyz"]


def test_a_folder_is_taken_whole_with_equal_names_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "2023/a.jpg", "2024/a.jpg", "2024/deep/er/a.PNG", "z.webp", "notes.txt", "README")

    assert names_of(tmp_path) == ["2023/a.jpg", "2024/a.jpg", "2024/deep/er/a.PNG", "z.webp"]
    assert open_source(str(tmp_path)).count() == 4


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(5, 1_700_000_000_123_456_789))

    assert list(open_source(str(tmp_path)).scan()) == [Found("a.jpg", 5, 1_700_000_000_123_456_789)]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, ".a.jpg", ".git/b.jpg", "c.jpg")

    assert names_of(tmp_path) == ["c.jpg"]


def test_a_hidden_file_named_outright_is_taken(tmp_path: Path) -> None:
    assert names_of(touch(tmp_path, ".a.jpg") / ".a.jpg") == [".a.jpg"]


def test_links_to_folders_are_not_followed_so_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)

    assert names_of(tmp_path) == ["a/b.jpg"]


def test_a_link_to_a_file_is_an_image_and_one_to_nowhere_a_failure_to_come(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "c.jpg").symlink_to("nowhere")
    (tmp_path / "d.jpg").symlink_to("d.jpg")

    sizes = {found.name: found.size for found in open_source(str(tmp_path)).scan()}

    assert sizes == {"a.jpg": 5, "b.jpg": 5, "c.jpg": -1, "d.jpg": -1}


def test_a_folder_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.jpg")
    (tmp_path / "link").symlink_to("real")

    source = open_source(str(tmp_path / "link"))

    assert source.root == tmp_path / "real"


def test_names_in_any_script_and_in_no_encoding_are_found(tmp_path: Path) -> None:
    odd = [os.fsdecode(b"caf\xe9.jpg"), "größe.jpg", "写真.jpg", "new\nline.jpg", " space .jpg", "emoji 🙂.jpg"]
    touch(tmp_path, *odd)

    assert sorted(names_of(tmp_path)) == sorted(odd)


def test_a_folder_that_cannot_be_listed_is_one_failure_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    tmp_path.chmod(0o755)
    (tmp_path / "locked").chmod(0)

    assert as_somebody_else(tmp_path) == ["a.jpg", "locked", "z.jpg"]


def as_somebody_else(folder: Path) -> list[str]:
    """What a user without rights to it finds in a folder: root reads everything, so it must step down for this."""
    source = open_source(str(folder))
    if os.geteuid() != 0:
        return [found.name for found in source.scan()]
    parents = [path for path in folder.parents if not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in parents}
    for path in parents:
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        return [found.name for found in source.scan()]
    finally:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_folder_that_vanishes_before_it_is_read_is_said(tmp_path: Path) -> None:
    source = open_source(str(touch(tmp_path / "photos", "a.jpg")))
    (tmp_path / "photos").rename(tmp_path / "elsewhere")

    with pytest.raises(SourceError, match="can't be read any more"):
        list(source.scan())


def test_a_glob_takes_files_and_their_common_folder_is_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "x/b.jpg", "x/y/c.jpg", "x/d.png", "e.jpg")

    flat = open_source(str(tmp_path / "x" / "*.jpg"))
    deep = open_source(str(tmp_path / "**" / "*.jpg"))

    assert (flat.root, flat.names) == (tmp_path / "x", ("a.jpg", "b.jpg"))
    assert (deep.root, deep.names) == (tmp_path, ("e.jpg", "x/a.jpg", "x/b.jpg", "x/y/c.jpg"))


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "a1.jpg")

    assert names_of(tmp_path / "a[1].jpg") == ["a[1].jpg"]


def test_a_list_names_files_relative_to_itself(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "out/b.jpg")
    lines = ["# two photographs", "a.jpg", "", "../out/b.jpg", str(tmp_path / "in" / "a.jpg"), "missing.jpg"]
    (tmp_path / "in" / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())

    source = open_source(str(tmp_path / "in" / "list.txt"))

    assert source.root == tmp_path
    assert [(found.name, found.size) for found in source.scan()] == [
        ("in/a.jpg", 8),
        ("in/missing.jpg", -1),
        ("out/b.jpg", 9),
    ]


def test_a_list_may_name_files_in_no_encoding(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    touch(tmp_path, name)
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")

    assert names_of(tmp_path / "list.txt") == [name]


def test_a_list_entry_with_a_tilde_is_a_name_like_any_other(tmp_path: Path) -> None:
    touch(tmp_path, "~nobody-of-this-name.jpg")
    (tmp_path / "list.txt").write_text("~nobody-of-this-name.jpg\n")

    assert names_of(tmp_path / "list.txt") == ["~nobody-of-this-name.jpg"]


@pytest.mark.parametrize("line", [b"a\x00b.jpg", b"x" * 5000])
def test_a_list_with_a_line_that_is_no_path_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.jpg\n" + line)

    with pytest.raises(SourceError, match="line 2 can't be a path"):
        open_source(str(tmp_path / "list.txt"))


def test_a_device_is_refused() -> None:
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        open_source("/dev/null")


PART = st.text(string.ascii_lowercase[:3] + "AB-._ é", min_size=1, max_size=4).filter(lambda part: part[0] != ".")
NAMES = st.sets(st.builds(lambda folders, stem: "/".join([*folders, stem + ".jpg"]), st.lists(PART, max_size=3), PART))


@given(NAMES)
def test_the_order_found_is_the_order_of_results(names: set[str]) -> None:
    folders = {name[:i] for name in names for i, character in enumerate(name) if character == "/"}
    names = {name for name in names if name not in folders}
    with tempfile.TemporaryDirectory() as folder:
        root = touch(Path(folder), *names, "last.jpg")

        found = names_of(root)

    assert found == sorted({*names, "last.jpg"}, key=sort_key)
