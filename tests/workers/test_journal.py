"""What is finished, on disk: torn lines, merging that may be killed at any point, and what needs no work."""

from __future__ import annotations

import json
import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import workers.journal
from workers.earlier import earlier_attempts
from workers.folder import Found, open_source, sort_key
from workers.jobs import new_attempt
from workers.journal import (
    LASTING,
    RESULTS,
    STATE,
    Finished,
    Journal,
    Line,
    drop_vanished,
    read_lines,
    settle,
    totals,
)

JOB = "20260101-000000-aaaaaaaa"
LATER_JOB = "20260102-000000-aaaaaaaa"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path) -> None:
    """As whoever submits a job makes it."""
    (tmp_path / STATE).mkdir()


def test_where_a_disk_was_mounted_no_journal_is_begun_and_nothing_is_settled(tmp_path: Path) -> None:
    mountpoint = tmp_path / "disk"
    mountpoint.mkdir()

    with pytest.raises(FileNotFoundError, match="is away"):
        Journal(mountpoint, JOB, "00000000", new_attempt())
    with pytest.raises(FileNotFoundError, match="is away"):
        settle(mountpoint)

    assert list(mountpoint.iterdir()) == []


def a_line(name: str, **fields: Any) -> Line:
    return {"image": name, "status": "ok", "fingerprint": "f", **fields}


def a_failure(name: str, code: str, **fields: Any) -> Line:
    return a_line(name, status="failed", error={"code": code, "message": "…"}, **fields)


def write_journal(output: Path, job: str, shard: str, *lines: Line) -> Path:
    journal = Journal(output, job, shard, new_attempt())
    for line in lines:
        journal.result(line)
    journal.close()
    return journal.path


def write_results(output: Path, *lines: Line) -> None:
    output.mkdir(exist_ok=True)
    (output / RESULTS).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_line_that_a_kill_cut_off_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    whole = b'{"image":"a.jpg"}\n'

    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert list(read_lines(path)) == [{"image": "a.jpg"}]


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\n[1]\nnull\n{"torn\n\xff\xfe\n{"image":"a"}\n')

    assert list(read_lines(path)) == [{"image": "a"}]


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_earlier_attempts_tell_what_is_finished_and_what_was_begun_in_vain(tmp_path: Path) -> None:
    for finished in (["a"], ["b"], []):
        journal = Journal(tmp_path, JOB, "00000001", new_attempt())
        for name in [*finished, "poison"]:
            journal.start(name)
        for name in finished:
            journal.result(a_line(name))
        journal.close()
    write_journal(tmp_path, JOB, "00000002", a_line("of another shard"))

    earlier = earlier_attempts(tmp_path, JOB, "00000001", {})

    assert len(earlier.attempts) == 3
    assert sorted(earlier.finished) == ["a", "b"]
    assert {name: len(starts) for name, starts in earlier.vain.items()} == {"poison": 3}


def test_two_attempts_never_write_into_one_file(tmp_path: Path) -> None:
    assert write_journal(tmp_path, JOB, "00000001") != write_journal(tmp_path, JOB, "00000001")


def test_a_journal_that_was_taken_away_is_not_current(tmp_path: Path) -> None:
    journal = Journal(tmp_path, JOB, "00000001", new_attempt())
    assert journal.is_current()

    settle(tmp_path)

    assert not journal.is_current()
    journal.close()


def test_settling_merges_sorts_and_lets_newer_lines_replace_older(tmp_path: Path) -> None:
    write_results(tmp_path, a_line("a/z.jpg", of="results"), a_line("b.jpg", of="results"))
    write_journal(tmp_path, JOB, "00000000", a_line("b.jpg", of="job"), a_line("a/y.jpg", of="job"))
    write_journal(tmp_path, JOB, "00000001", a_line("c.jpg", of="job"))
    write_journal(tmp_path, LATER_JOB, "00000000", a_line("c.jpg", of="later job"))

    settle(tmp_path)

    assert [(line["image"], line["of"]) for line in read_lines(tmp_path / RESULTS)] == [
        ("a/y.jpg", "job"),
        ("a/z.jpg", "results"),
        ("b.jpg", "job"),
        ("c.jpg", "later job"),
    ]
    assert list((tmp_path / ".pixelmill" / "journal").iterdir()) == []


def test_starts_are_no_results(tmp_path: Path) -> None:
    journal = Journal(tmp_path, JOB, "00000000", new_attempt())
    journal.start("a.jpg")
    journal.close()

    settle(tmp_path)

    assert (tmp_path / RESULTS).read_text() == ""


def test_results_that_somebody_has_shuffled_and_edited_are_put_in_order(tmp_path: Path) -> None:
    write_results(tmp_path, a_line("c"), {"no": "image"}, a_line("a"), {"image": 7})
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(b'{"image": "torn')
    write_journal(tmp_path, JOB, "00000000", a_line("b"))

    settle(tmp_path)

    assert [line["image"] for line in read_lines(tmp_path / RESULTS)] == ["a", "b", "c"]


def test_without_journals_settling_leaves_the_file_alone(tmp_path: Path) -> None:
    write_results(tmp_path, a_line("a"))
    before = (tmp_path / RESULTS).stat()

    settle(tmp_path)

    assert (tmp_path / RESULTS).stat().st_mtime_ns == before.st_mtime_ns


class Killed(BaseException):
    """The process was killed here."""


@pytest.mark.parametrize("step", ["before the rename", "after the rename", "between two journals"])
def test_settling_may_be_killed_anywhere_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_results(tmp_path, a_line("a", of="results"), a_line("b", of="results"))
    write_journal(tmp_path, JOB, "00000000", a_line("b", of="job"), a_line("c", of="job"))
    write_journal(tmp_path, LATER_JOB, "00000000", a_line("d", of="later job"))
    with monkeypatch.context() as patched:
        removed: list[Path] = []

        def killing_remove(path: Path, ignore_errors: bool = False) -> None:
            if step == "after the rename" or removed:
                raise Killed
            removed.append(path)
            os.system(f"rm -r '{path}'")

        def killing_rename(self: Path, target: Path) -> None:
            raise Killed

        patched.setattr(workers.journal.shutil, "rmtree", killing_remove)
        if step == "before the rename":
            patched.setattr(Path, "replace", killing_rename)
        with pytest.raises(Killed):
            settle(tmp_path)

    settle(tmp_path)

    assert {line["image"]: line["of"] for line in read_lines(tmp_path / RESULTS)} == {
        "a": "results",
        "b": "job",
        "c": "job",
        "d": "later job",
    }
    assert list((tmp_path / ".pixelmill" / "journal").iterdir()) == []


NAMES = st.lists(st.text("ab/é", min_size=1, max_size=4).filter(lambda name: "//" not in name), max_size=12)


@hypothesis_settings(deadline=None)
@given(old=NAMES, names=NAMES, cut=st.integers(1, 4), torn=st.integers(0, 30), attempts=st.integers(1, 3))
def test_after_settling_every_image_has_one_line_its_newest_and_again_changes_nothing(
    old: list[str], names: list[str], cut: int, torn: int, attempts: int
) -> None:
    old, names = sorted(set(old), key=sort_key), sorted(set(names), key=sort_key)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        (output / STATE).mkdir()
        write_results(output, *(a_line(name, age="old") for name in old))
        for number in range(0, len(names), cut):
            for _ in range(attempts):
                path = write_journal(
                    output, JOB, f"{number:08}", *(a_line(n, age="new") for n in reversed(names[number : number + cut]))
                )
                with path.open("ab") as file:
                    file.write(json.dumps(a_line("never whole")).encode()[:torn])

        settle(output)
        once = (output / RESULTS).read_bytes()
        settle(output)

        lines = list(read_lines(output / RESULTS))
        assert [line["image"] for line in lines] == sorted({*old, *names}, key=sort_key)
        assert all(line["age"] == ("new" if line["image"] in names else "old") for line in lines)
        assert (output / RESULTS).read_bytes() == once


def test_totals_count_lines_by_outcome(tmp_path: Path) -> None:
    write_results(
        tmp_path, a_line("a"), a_failure("b", "truncated"), a_failure("c", "truncated"), a_line("d", status="failed")
    )

    counted = totals(tmp_path)

    assert (counted.ok, counted.failed) == (1, 3)
    assert counted.failed_by_code == {"truncated": 2, "unknown": 1}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "a.jpg"
    path.write_bytes(b"pixels")
    return path


def stamped(photo: Path, **fields: Any) -> Line:
    """The line of a photograph as a worker would write it."""
    stat = photo.stat()
    checksum = sha256(photo.read_bytes()).hexdigest()
    return a_line(photo.name, sha256=checksum, file={"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}, **fields)


def found(photo: Path) -> Found:
    (one,) = open_source(str(photo)).scan()
    return one


def covered(output: Path, photo: Path, **options: Any) -> bool:
    return Finished(output, "f", **options).covers(found(photo), photo.parent)


def test_an_image_with_a_result_of_the_same_bytes_is_finished(tmp_path: Path, photo: Path) -> None:
    write_results(tmp_path / "out", stamped(photo))

    assert covered(tmp_path / "out", photo)


def test_a_touched_image_is_finished_by_its_checksum(tmp_path: Path, photo: Path) -> None:
    write_results(tmp_path / "out", stamped(photo))
    os.utime(photo, (1, 1))

    assert covered(tmp_path / "out", photo)


def test_a_changed_image_is_not_finished(tmp_path: Path, photo: Path) -> None:
    write_results(tmp_path / "out", stamped(photo))
    photo.write_bytes(b"others")
    os.utime(photo, (1, 1))

    assert not covered(tmp_path / "out", photo)


def test_a_result_computed_in_another_way_does_not_count(tmp_path: Path, photo: Path) -> None:
    write_results(tmp_path / "out", stamped(photo, fingerprint="g"))

    assert not covered(tmp_path / "out", photo)


@pytest.mark.parametrize("code", ["not_found", "unreadable", "crashed", "inference_failed", "too_many_pixels"])
def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path, photo: Path, code: str) -> None:
    failure = {**stamped(photo), **a_failure(photo.name, code)}
    write_results(tmp_path / "out", failure)

    assert not covered(tmp_path / "out", photo)


@pytest.mark.parametrize("code", sorted(LASTING))
def test_a_failure_that_lies_in_the_bytes_is_not_tried_again(tmp_path: Path, photo: Path, code: str) -> None:
    failure = {**stamped(photo), **a_failure(photo.name, code)}
    del failure["sha256"]  # an empty file has none
    write_results(tmp_path / "out", failure)

    assert covered(tmp_path / "out", photo)


def test_an_image_whose_overlay_is_gone_is_finished_only_without_overlays(tmp_path: Path, photo: Path) -> None:
    output = tmp_path / "out"
    write_results(output, stamped(photo, overlay="overlays/a.jpg"))

    assert covered(output, photo)
    assert not covered(output, photo, overlays=True)
    (output / "overlays").mkdir()
    (output / "overlays" / "a.jpg").touch()
    assert covered(output, photo, overlays=True)


EDITED: list[dict[str, Any]] = [
    {"file": None},
    {"file": {"bytes": "many"}},
    {"file": {"bytes": 10**30, "mtime_ns": 0}},
    {"sha256": "xyz"},
    {"sha256": 5},
    {"status": "failed", "error": None},
    {"overlay": 3},
]


@pytest.mark.parametrize("edit", EDITED, ids=str)
def test_a_line_that_somebody_has_edited_is_computed_again(tmp_path: Path, photo: Path, edit: dict[str, Any]) -> None:
    write_results(tmp_path / "out", {**stamped(photo, overlay="overlays/a.jpg"), **edit})

    assert not covered(tmp_path / "out", photo, overlays=True)


def test_a_missing_file_is_never_finished(tmp_path: Path, photo: Path) -> None:
    write_results(tmp_path / "out", stamped(photo))

    assert not Finished(tmp_path / "out", "f").covers(Found("a.jpg", -1, 0), photo.parent)


def test_of_images_that_are_gone_only_the_failures_are_dropped(tmp_path: Path, photo: Path) -> None:
    output = tmp_path / "out"
    write_results(output, stamped(photo), a_line("b.jpg"), a_failure("c.jpg", "corrupt"))

    dropped = drop_vanished(output, photo.parent)

    assert dropped == 1
    assert [line["image"] for line in read_lines(output / RESULTS)] == ["a.jpg", "b.jpg"]
    assert drop_vanished(output, photo.parent) == 0


def test_a_journal_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, JOB, "00000000", new_attempt())
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))

    with pytest.raises(OSError, match="No space left on device"):
        journal.result(a_line("a.jpg"))

    monkeypatch.undo()
    journal.close()
    assert list(read_lines(journal.path)) == []
