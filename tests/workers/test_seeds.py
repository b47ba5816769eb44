"""Jobs without input images: what they are about, what of them is finished, what a worker lets through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import ParameterError
from workers.errors import OutputError
from workers.feeder import cut
from workers.folder import Source
from workers.jobs import JobSpec
from workers.journal import RESULTS, Finished
from workers.roots import check_roots
from workers.seeds import Seeds, check_input, said, seeds, some_of


def spec(place: Path, **changed: object) -> JobSpec:
    told: dict[str, object] = {
        "job": "20261124-120000-00000000",
        "pipeline": "generate",
        "model": str(place / "model.onnx"),
        "model_name": "digits",
        "model_sha256": "0" * 64,
        "params": {},
        "fingerprint": "abc",
        "root": "",
        "output": str(place),
    }
    return JobSpec.model_validate({**told, **changed})


def line(name: str, **changed: object) -> dict[str, object]:
    picture = {"file": f"pictures/{name}", "height": 4, "width": 4, "channels": 3, "seed": 1}
    return {"image": name, "status": "ok", "picture": picture, "fingerprint": "abc", **changed}


def test_a_shard_is_a_range_of_seeds() -> None:
    source = seeds(300, 7)

    shards = list(cut((found.name for found in source.scan()), 64, lambda: None, 2))

    assert source.count() == 300
    names = [name for shard in shards for name in shard]
    assert names == [f"seed-{number:010d}.png" for number in range(7, 307)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (seeds(1, 7), "seed 7"),
        (seeds(64, 7), "seeds 7 to 70"),
        (Seeds(Path(), None, (1, 5, 9)), "3 seeds"),
    ],
)
def test_the_input_can_be_said_in_words(source: Seeds, words: str) -> None:
    assert said(source) == words


def test_a_picture_that_was_made_is_finished_as_long_as_it_is_there(tmp_path: Path) -> None:
    names = [found.name for found in seeds(3).scan()]
    (tmp_path / "pictures").mkdir()
    for name in names[:2]:
        (tmp_path / "pictures" / name).touch()
    lines = [line(names[0]), line(names[1], fingerprint="of another truncation"), line(names[2])]
    (tmp_path / RESULTS).write_text("".join(json.dumps(one) + "\n" for one in lines))

    finished = Finished(tmp_path, "abc")

    assert [finished.covers(found, Path()) for found in seeds(4).scan()] == [True, False, False, False]


def test_a_line_without_its_file_is_not_taken_for_a_made_picture(tmp_path: Path) -> None:
    """Somebody edited the line of a photograph: it is computed again."""
    edited = {"image": "a.jpg", "status": "ok", "labels": [], "fingerprint": "abc"}
    (tmp_path / RESULTS).write_text(json.dumps(edited) + "\n")

    assert len(Finished(tmp_path, "abc")) == 0


def test_seeds_belong_to_generate_and_pictures_to_the_others() -> None:
    with pytest.raises(ParameterError, match="detect reads pictures"):
        check_input("detect", seeds(3))
    for source in (None, Source(Path("/photos"))):
        with pytest.raises(ParameterError, match="takes no picture"):
            check_input("generate", source)
    check_input("generate", seeds(3))
    check_input("detect", None)


@pytest.mark.parametrize("changed", [{"pipeline": "classify"}, {"root": "/photos"}])
def test_a_message_without_a_root_can_only_be_about_seeds(tmp_path: Path, changed: dict[str, object]) -> None:
    """Else the name of an image could be the path of any file of the worker's."""
    with pytest.raises(ValidationError, match="root is empty for the pipeline 'generate'"):
        spec(tmp_path, **changed)


def test_roots_are_checked_for_what_a_job_of_seeds_touches(tmp_path: Path) -> None:
    check_roots(spec(tmp_path), (tmp_path,))

    with pytest.raises(OutputError, match="output folder"):
        check_roots(spec(tmp_path, output="/elsewhere"), (tmp_path,))


def test_some_of_a_jobs_seeds_become_another_jobs_input(tmp_path: Path) -> None:
    again = some_of(spec(tmp_path), {"seed-0000000012.png", "seed-0000000003.png"})

    assert isinstance(again, Seeds)
    assert [found.name for found in again.scan()] == ["seed-0000000003.png", "seed-0000000012.png"]
