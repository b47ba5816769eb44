"""The files an attempt writes beside its lines: overlays, masks, pictures; with a real network and a real store."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.pipeline import Pipeline
from pipelines.results import Found, RenderedPicture, SemanticMask
from tests.system.processes import drawn
from tests.workers import test_shard
from tests.workers.test_shard import attempt, lines, open_real, submitted
from workers.folder import open_source
from workers.jobs import JobSpec
from workers.journal import Finished, Journal
from workers.store import JobStore

spec = test_shard.spec  # a fixture

CLASSES = np.arange(240 * 320, dtype=np.uint32).reshape(240, 320) // 32 % 3


def giving(found: Callable[[], Found]) -> Callable[[JobSpec], Pipeline]:
    """A real pipeline that goes the whole way, but whose results are these."""

    def open_pipeline(spec: JobSpec) -> Pipeline:
        pipeline = open_real(spec)
        real = pipeline.finish
        pipeline.finish = lambda *rest: replace(real(*rest), found=found())  # type: ignore[method-assign]
        return pipeline

    return open_pipeline


def mask() -> SemanticMask:
    return SemanticMask(CLASSES.astype(np.uint8), ("background", "cell", "platelet"))


def cut_out() -> RenderedPicture:
    return RenderedPicture(np.full((240, 320, 4), (10, 200, 30, 128), np.uint8), {"person_share": 0.5})


def files(spec: JobSpec) -> set[str]:
    output = Path(spec.output)
    paths = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != ".pixelmill" and path.name != "results.jsonl"}


def test_a_semantic_mask_is_written_and_named_in_its_line(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec, "0.jpg", "1.jpg"), store, giving(mask))

    line = lines(spec)["0.jpg"]
    assert files(spec) == {"masks/0.jpg.png", "masks/1.jpg.png", "overlays/0.jpg", "overlays/1.jpg"}
    assert (line["mask"], line["overlay"]) == ("masks/0.jpg.png", "overlays/0.jpg")
    assert [row["label"] for row in line["segments"]] == ["background", "cell", "platelet"]
    assert {"draw", "write"} < line["timings_ms"].keys()
    with Image.open(Path(spec.output) / line["mask"]) as opened:
        assert np.array_equal(np.array(opened), CLASSES)


def test_a_mask_is_written_without_overlays_too(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec.model_copy(update={"overlays": False}), "0.jpg"), store, giving(mask))

    assert files(spec) == {"masks/0.jpg.png"}
    assert "overlay" not in lines(spec)["0.jpg"]


def test_a_picture_is_the_result_and_nothing_is_drawn_besides(store: JobStore, spec: JobSpec) -> None:
    attempt(submitted(store, spec, "0.jpg"), store, giving(cut_out))

    line = lines(spec)["0.jpg"]
    assert files(spec) == {"pictures/0.jpg.png"}
    expected = {"file": "pictures/0.jpg.png", "height": 240, "width": 320, "channels": 4, "person_share": 0.5}
    assert line["picture"] == expected
    assert "overlay" not in line
    with Image.open(Path(spec.output) / "pictures/0.jpg.png") as opened:
        assert opened.getpixel((7, 7)) == (10, 200, 30, 128)


@pytest.mark.parametrize(("found", "file"), [(mask, "masks/0.jpg.png"), (cut_out, "pictures/0.jpg.png")])
def test_an_image_whose_mask_or_picture_is_gone_is_not_finished(
    store: JobStore, spec: JobSpec, found: Callable[[], Found], file: str
) -> None:
    attempt(submitted(store, spec, "0.jpg"), store, giving(found))
    lines(spec)
    (image,) = open_source(str(Path(spec.root) / "0.jpg")).scan()
    assert Finished(Path(spec.output), spec.fingerprint).covers(image, Path(spec.root))

    (Path(spec.output) / file).unlink()

    assert not Finished(Path(spec.output), spec.fingerprint).covers(image, Path(spec.root))


@pytest.mark.parametrize("found", [mask, cut_out])
def test_what_a_killed_attempt_had_begun_to_write_for_an_image_is_removed(
    store: JobStore, spec: JobSpec, found: Callable[[], Found]
) -> None:
    shard = submitted(store, spec, "0.jpg", "1.jpg")
    store.begin(spec.job, shard.key, "elsewhere:1:dead", 60)
    store.take_back(spec.job, shard.key, "elsewhere:1:dead")
    journal = Journal(Path(spec.output), spec.job, shard.key, "elsewhere:1:dead")
    journal.start("1.jpg")
    journal.close()
    for name in ("masks/.1.jpg.png", "pictures/.1.jpg.png", "pictures/.1.jpg", "overlays/.1.jpg"):
        (Path(spec.output) / name).parent.mkdir(exist_ok=True)
        (Path(spec.output) / f"{name}.123.0123abcd.tmp").touch()

    attempt(shard, store, giving(found))

    assert not [name for name in files(spec) if name.endswith(".tmp")]


@pytest.mark.parametrize(("found", "folder"), [(mask, "masks"), (cut_out, "pictures")])
def test_a_full_disk_ends_the_job_for_masks_and_pictures_too(
    store: JobStore, spec: JobSpec, monkeypatch: pytest.MonkeyPatch, found: Callable[[], Found], folder: str
) -> None:
    def refuse(path: Path, data: Any) -> None:
        assert folder in path.parts
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("workers.artefacts.write_whole", refuse)

    attempt(submitted(store, spec, "0.jpg"), store, giving(found))

    assert store.progress(spec.job).state == "failed"
    assert "the disk is full" in (store.progress(spec.job).reason or "")


@pytest.mark.parametrize("found", [mask, cut_out])
def test_a_mask_or_picture_whose_name_is_too_long_fails_that_image_only(
    store: JobStore, spec: JobSpec, found: Callable[[], Found]
) -> None:
    long = "x" * 250 + ".jpg"  # just fits, but not with a suffix more
    drawn(Path(spec.root) / "long.jpg").rename(Path(spec.root) / long)

    attempt(submitted(store, spec, "0.jpg", long), store, giving(found))

    assert lines(spec)[long]["error"]["code"] == "output_failed"
    assert "too long" in lines(spec)[long]["error"]["message"]
    assert lines(spec)["0.jpg"]["status"] == "ok"


def test_an_overlay_whose_name_is_too_long_fails_that_image_only(store: JobStore, spec: JobSpec) -> None:
    long = "x" * 252 + ".p"  # a name that just fits: its overlay's does not
    drawn(Path(spec.root) / "long.jpg").rename(Path(spec.root) / long)

    attempt(submitted(store, spec, "0.jpg", long), store)

    assert lines(spec)[long]["error"]["code"] == "output_failed"
    assert lines(spec)["0.jpg"]["status"] == "ok"


def test_an_overlay_where_a_folder_of_overlays_is_fails_that_image_only(store: JobStore, spec: JobSpec) -> None:
    drawn(Path(spec.root) / "a.png.jpg" / "x.jpg")
    drawn(Path(spec.root) / "a.png", seed=3)

    attempt(submitted(store, spec, "a.png", "a.png.jpg/x.jpg", "0.jpg"), store, threads=1)

    assert {name: line["status"] for name, line in lines(spec).items()} == {
        "a.png": "ok",
        "a.png.jpg/x.jpg": "failed",
        "0.jpg": "ok",
    }
