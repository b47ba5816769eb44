from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workers.atomic import temporary_name, write_atomically


def test_the_file_is_there_when_the_block_ends(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "a.txt") as file:
        file.write(b"whole")

    assert (tmp_path / "a.txt").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_readers_see_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    with write_atomically(path) as file:
        file.write(b"new")
        file.flush()
        during = path.read_bytes()

    assert during == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    with pytest.raises(error), write_atomically(path) as file:
        file.write(b"half")
        raise error

    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from workers.atomic import write_atomically\n"
        "with write_atomically(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[2])

    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_the_temporary_name_is_hidden_and_names_file_and_process(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "a.txt") as file:
        names = [path.name for path in tmp_path.iterdir()]

    assert names == [Path(file.name).name]
    assert names[0].startswith(f".a.txt.{os.getpid()}.")
    assert names[0].endswith(".tmp")


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    with write_atomically(path) as first:
        first.write(b"first")
        with write_atomically(path) as second:
            second.write(b"second")

    assert path.read_bytes() == b"first"
    assert temporary_name("a") != temporary_name("a")


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "caf\udce9" * 50])
def test_the_longest_names_a_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    with write_atomically(tmp_path / name) as file:
        file.write(b"whole")

    assert (tmp_path / name).read_bytes() == b"whole"
    assert len(os.fsencode(temporary_name(name))) <= 255


def test_the_file_gets_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")

    with write_atomically(tmp_path / "atomic") as file:
        file.write(b"")

    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "none" / "a.txt"):
        pass
