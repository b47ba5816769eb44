"""Which pipeline has which formats, what is said of the others, and writing them from what stands in results.jsonl."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.catalog import PIPELINES, find_model
from pipelines.errors import ParameterError
from pipelines.results import RenderedPicture, SemanticMask
from tests.pipelines.formats.made_lines import detections, disc, instances, labels, line
from tests.workers.test_jobs import a_spec
from workers.errors import OutputError
from workers.formats import (
    FORMATS,
    NAMES,
    Stopped,
    asks_for_overlays,
    choose_formats,
    missing_formats,
    places,
    settle_formats,
    usual_formats,
    write_format,
)
from workers.jobs import JobSpec

EVERY = "coco coco-polygons yolo voc labelme masks csv parquet"
ABLE = {
    "classify": "csv parquet",
    "detect": "coco yolo voc labelme csv parquet",
    "rcnn": "coco yolo voc labelme csv parquet",
    "instances": EVERY,
    "segment": "masks csv parquet",
    "portrait": "csv parquet",
    "stylize": "csv parquet",
    "optimise": "csv parquet",
    "generate": "csv parquet",
}
PAIRS = [(pipeline, name) for pipeline in PIPELINES for name in EVERY.split()]
GIVEN = {
    "classify": ("efficientnet-lite0", labels((2, 0.5)), labels()),
    "detect": ("ssd-mobilenet-v2", detections((2, 0.5, (1, 2, 30, 40))), detections()),
    "rcnn": ("efficientnet-lite0", detections((2, 0.5, (1, 2, 30, 40))), detections()),
    "instances": ("coco-masks", instances((2, 0.5, disc(60, 60, 20))), instances()),
    "segment": ("smears-semantic", SemanticMask(np.full((120, 200), 1, np.uint8), ("background", "red_cell")), None),
    "portrait": ("selfie", RenderedPicture(np.zeros((9, 9, 4), np.uint8)), None),
}


def a_job(folder: Path, pipeline: str, *lines: dict[str, Any], formats: tuple[str, ...] = ()) -> JobSpec:
    output = folder / "out"
    output.mkdir(exist_ok=True)
    (output / "results.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    model = find_model(GIVEN[pipeline][0])
    return a_spec(pipeline=pipeline, model=str(model), root=str(folder / "photos"), output=str(output), formats=formats)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_pipeline_of_the_catalogue_is_asked_about_here() -> None:
    assert set(PIPELINES) <= set(ABLE)
    assert EVERY.split() == list(FORMATS)


@pytest.mark.parametrize(("pipeline", "name"), PAIRS, ids=map("-".join, PAIRS))
def test_a_pipeline_has_a_format_or_the_error_names_those_it_has(pipeline: str, name: str) -> None:
    able = ABLE[pipeline].split()
    if name in able:
        assert choose_formats(pipeline, [name]) == (name,)
        return

    with pytest.raises(ParameterError) as refused:
        choose_formats(pipeline, [name])

    assert str(refused.value).startswith(f"{name} can't express what {pipeline} gives, ")
    assert str(refused.value).endswith(f": choose from {', '.join(['jsonl', *able])}")


@pytest.mark.parametrize("pipeline", [pipeline for pipeline in GIVEN if pipeline in PIPELINES])
def test_each_format_of_a_pipeline_is_written_with_failed_pictures_and_nothing_found_among_them(
    tmp_path: Path, pipeline: str
) -> None:
    _, found, nothing = GIVEN[pipeline]
    names = tuple(ABLE[pipeline].split())
    lines = [line("x/a.jpg", found), line("broken.jpg", None), *([line("b.jpg", nothing)] if nothing else [])]
    spec = a_job(tmp_path, pipeline, *lines, formats=names)

    for name in names:
        write_format(name, spec, lambda: False)

    assert missing_formats(spec) == ()
    written = files_below(tmp_path / "out")
    assert not [name for name in written if "broken" in name or ".tmp" in name]
    assert {name.split("/")[0] for name in written} == {
        "results.jsonl", *(place.relative_to(tmp_path / "out").parts[0] for place in places(spec).values())
    }  # fmt: skip


@pytest.mark.parametrize("pipeline", ["detect", "instances", "classify"])
def test_a_job_all_of_whose_pictures_failed_or_that_had_none_has_its_formats(tmp_path: Path, pipeline: str) -> None:
    for lines in ([], [line("broken.jpg", None)]):
        spec = a_job(tmp_path, pipeline, *lines, formats=tuple(ABLE[pipeline].split()))

        for name in spec.formats or ():
            write_format(name, spec, lambda: False)

        assert missing_formats(spec) == ()


def test_names_are_taken_with_commas_or_one_by_one_each_once() -> None:
    assert choose_formats("detect", ["csv, voc", "voc", "jsonl", "overlays", ""]) == ("voc", "csv")
    assert asks_for_overlays(["csv, overlays"])
    assert not asks_for_overlays(["csv"])


def test_a_wrong_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(ParameterError, match=re.escape("there is no format 'cocoo': did you mean 'coco'? There are")):
        choose_formats("detect", ["cocoo"])
    with pytest.raises(ParameterError, match=re.escape(", ".join(NAMES))):
        choose_formats("detect", ["xlsx"])


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_without_a_wish_boxes_and_masks_are_coco(pipeline: str) -> None:
    assert usual_formats(pipeline) == (("coco",) if "coco" in ABLE[pipeline].split() else ())


def test_a_second_job_in_a_folder_keeps_the_first_ones_formats_up_to_date(tmp_path: Path) -> None:
    first = a_job(tmp_path, "detect", formats=("yolo",))
    note = {"spec": first.model_dump(mode="json")}

    added = settle_formats(first.model_copy(update={"formats": ("csv",)}), note, same_job=True)
    same = settle_formats(first.model_copy(update={"formats": None}), note, same_job=True)
    another = settle_formats(first.model_copy(update={"formats": None}), note, same_job=False)

    assert (added.formats, same.formats, another.formats) == (("yolo", "csv"), ("yolo",), ("coco",))


def test_what_somebody_else_put_in_a_formats_place_is_never_replaced(tmp_path: Path) -> None:
    spec = a_job(tmp_path, "detect", formats=("yolo",))
    (tmp_path / "out/yolo").mkdir()

    with pytest.raises(OutputError, match="yolo is not from pixelmill, and the format yolo would replace it"):
        settle_formats(spec, None, same_job=False)


def test_writing_that_is_stopped_leaves_the_format_that_was_there(tmp_path: Path) -> None:
    spec = a_job(tmp_path, "detect", line("a.jpg", GIVEN["detect"][1]), formats=("yolo", "csv"))
    for name in ("yolo", "csv"):
        write_format(name, spec, lambda: False)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files_below(tmp_path / "out")}
    a_job(tmp_path, "detect", *(line(f"{n}.jpg", GIVEN["detect"][1]) for n in range(3)))

    for name in ("yolo", "csv"):
        with pytest.raises(Stopped):
            write_format(name, spec, lambda: True)

    after = {name: (tmp_path / "out" / name).read_bytes() for name in files_below(tmp_path / "out")}
    assert {name: text for name, text in after.items() if name != "results.jsonl"} == {
        name: text for name, text in before.items() if name != "results.jsonl"
    }


def test_a_format_that_is_written_again_knows_nothing_of_pictures_that_are_gone(tmp_path: Path) -> None:
    one = GIVEN["detect"][1]
    write_format(
        "yolo", a_job(tmp_path, "detect", line("a.jpg", one), line("b.jpg", one), formats=("yolo",)), lambda: False
    )
    write_format("yolo", a_job(tmp_path, "detect", line("b.jpg", one), formats=("yolo",)), lambda: False)

    assert [path.name for path in (tmp_path / "out/yolo/labels").iterdir()] == ["b.txt"]
