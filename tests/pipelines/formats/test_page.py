"""docs/formats.md, typed from top to bottom: every command runs, and every block of Python reads what it wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.system.processes import pixelmill
from tests.test_readme import ROOT, SAMPLES, Block, blocks_of, environment

PAGE = blocks_of((ROOT / "docs" / "formats.md").read_text("utf-8"), "docs/formats.md")

# pycocotools decodes in a way NumPy 2 calls old
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, one of them broken, after all commands of the page."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "photos" / "things").mkdir(parents=True)
    for name in ("animals/cat.jpg", "animals/horse.png", "people/naval-officer.jpg", "things/café.jpg"):
        (desk / "photos" / name).parent.mkdir(exist_ok=True)
        (desk / "photos" / name).symlink_to(SAMPLES / name)
    (desk / "photos" / "broken.jpg").write_bytes((SAMPLES / "animals" / "cat.jpg").read_bytes()[:9000])
    commands = "\n".join(block.body for block in PAGE if block.language == "sh")
    done = subprocess.run(
        ["sh", "-u", "-c", commands], cwd=desk, env=environment(), capture_output=True, text=True, check=False,
        timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # finished, with a failed image
    return desk


def test_the_page_leaves_every_format_it_names(desk: Path) -> None:
    noted = json.loads((desk / "results" / ".pixelmill" / "job.json").read_bytes())["spec"]["formats"]

    assert noted == ["coco", "coco-polygons", "yolo", "voc", "labelme", "masks", "csv", "parquet"]
    lines = [json.loads(line) for line in (desk / "results" / "results.jsonl").read_text("utf-8").splitlines()]
    assert [line["image"] for line in lines if line["status"] == "failed"] == ["broken.jpg"]


def test_a_picture_added_later_stands_in_every_format_written_before(desk: Path) -> None:
    (desk / "photos" / "later.jpg").symlink_to(SAMPLES / "people" / "photographer.jpg")

    done = pixelmill("run", "instances", "photos/", "--out", "results/", "--quiet", cwd=desk)

    assert done.returncode == 3, done.stderr
    results = desk / "results"
    for text in ("coco.json", "coco-polygons.json", "results.csv", "voc/VOCdevkit/VOC2012/ImageSets/Main/train.txt"):
        assert "later" in (results / text).read_text("utf-8")
    for kind in ("yolo/labels/later.txt", "labelme/later.json", "masks/objects/later.png"):
        assert (results / kind).is_file()


@pytest.mark.parametrize("block", [block for block in PAGE if block.language == "python"], ids=str)
def test_the_libraries_read_what_the_page_says_they_read(
    block: Block, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("pycocotools", "torchvision", "ultralytics", "pyarrow"):
        if library in block.body:
            pytest.importorskip(library)
    monkeypatch.chdir(desk)

    exec(compile(block.body, str(block), "exec"), {"__name__": "__main__"})

    assert capsys.readouterr().out
