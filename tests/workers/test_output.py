"""The output folder: one run at a time, for one pipeline and one input."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.test_jobs import a_spec
from workers.errors import OutputError
from workers.folder import Source
from workers.job_request import refuse_overlap
from workers.output import claim_output, prove_writable, remember, remembered, sweep_temporaries
from workers.resume import check_same_job


def test_a_claimed_folder_is_refused_to_anybody_else(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out"), pytest.raises(OutputError, match="another run works into"):  # noqa: SIM117
        with claim_output(tmp_path / "out"):
            pass


def test_a_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    with claim_output(tmp_path / "out"):
        pass
    with claim_output(tmp_path / "out"):
        pass


def test_the_lock_of_a_killed_process_is_gone_with_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workers.output import claim_output\n"
        "with claim_output(Path(sys.argv[1])): print('held', flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(OutputError, match="another run"), claim_output(tmp_path):
        pass

    holder.kill()
    holder.communicate()

    with claim_output(tmp_path):
        pass


def test_a_file_system_without_locks_is_not_taken_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)

    with pytest.raises(OutputError, match="can't be locked: No locks available"), claim_output(tmp_path):
        pass


def test_a_folder_that_cannot_be_created_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="can't be written: Not a directory"), claim_output(tmp_path / "file" / "out"):
        pass


def test_proving_leaves_nothing(tmp_path: Path) -> None:
    with claim_output(tmp_path):
        prove_writable(tmp_path)

    assert [path.name for path in (tmp_path / ".pixelmill").iterdir()] == ["lock"]


def test_what_a_run_noted_is_remembered_and_damage_is_forgotten(tmp_path: Path) -> None:
    assert remembered(tmp_path) is None
    (tmp_path / ".pixelmill").mkdir()
    remember(tmp_path, {"closed": True})
    assert remembered(tmp_path) == {"closed": True}

    for damage in (b"", b"{", b"[]", b"\xff"):
        (tmp_path / ".pixelmill" / "job.json").write_bytes(damage)
        assert remembered(tmp_path) is None


def test_only_what_a_killed_run_had_begun_to_write_is_swept(tmp_path: Path) -> None:
    ours = [".results.jsonl.123.0123abcd.tmp", "overlays/x/.a.jpg.9.00000000.tmp", "masks/.a.png.9.00000000.tmp"]
    others = ["results.jsonl", ".note.tmp", "overlays/x/a.jpg", "overlays/a.tmp", "elsewhere/.a.jpg.9.00000000.tmp"]
    for name in [*ours, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    sweep_temporaries(tmp_path)

    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)


def test_results_of_another_pipeline_or_input_are_refused_unless_replaced(tmp_path: Path) -> None:
    (tmp_path / ".pixelmill").mkdir()
    remember(tmp_path, {"spec": a_spec(pipeline="detect", root="/photos").model_dump(mode="json")})

    with pytest.raises(OutputError, match="holds results of pipeline detect, not classify"):
        check_same_job(a_spec(pipeline="classify", root="/photos", output=str(tmp_path)), force=False)
    with pytest.raises(OutputError, match="holds results of input /photos, not /others"):
        check_same_job(a_spec(pipeline="detect", root="/others", output=str(tmp_path)), force=False)
    check_same_job(a_spec(pipeline="detect", root="/photos", output=str(tmp_path)), force=False)
    check_same_job(a_spec(pipeline="classify", root="/others", output=str(tmp_path)), force=True)


@pytest.mark.parametrize(
    ("root", "names", "output"),
    [
        ("/photos", None, "/photos"),
        ("/photos", None, "/photos/out"),
        ("/out/overlays", None, "/out"),
        ("/out/masks", None, "/out"),
        ("/out/pictures/x", None, "/out"),
        ("/out/overlays", ("a.jpg",), "/out"),
        ("/out", ("a.jpg", "overlays/a.jpg"), "/out"),
    ],
)
def test_an_output_that_would_feed_on_itself_is_refused(root: str, names: tuple[str, ...] | None, output: str) -> None:
    with pytest.raises(OutputError, match="choose"):
        refuse_overlap(Source(Path(root), names), Path(output))


def test_results_may_lie_beside_the_photographs_that_were_named() -> None:
    refuse_overlap(Source(Path("/photos"), ("a.jpg",)), Path("/photos"))
    refuse_overlap(Source(Path("/trip/photos")), Path("/trip"))
