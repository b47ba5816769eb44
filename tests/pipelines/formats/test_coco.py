from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.formats.coco import write_coco

NAMES = ("cat", "dog")


def line(image: str, *detections: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"image": image, "status": "ok", "height": 480, "width": 640, "detections": list(detections), **more}


def detection(class_id: int, score: float, *box: float) -> dict[str, Any]:
    return {"label": NAMES[class_id % 2], "class_id": class_id, "score": score, "box": list(box)}


def written(lines: list[dict[str, Any]], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    out = io.BytesIO()
    write_coco(lines, names, out)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


FAILED = {"image": "broken.jpg", "status": "failed", "error": {"code": "truncated", "message": "it ends early"}}
LINES = [
    line("a.jpg", detection(1, 0.9, 10, 20, 110, 70.5), detection(0, 0.25, 0, 0, 640, 480)),
    FAILED,
    {**FAILED, "image": "crashed.jpg", "height": 100, "width": 200},
    line("sub/é.jpg"),
    line("z.jpg", detection(0, 0.5, 1.25, 2.5, 3.75, 5)),
]


def test_boxes_become_x_y_width_height() -> None:
    annotations = written(LINES)["annotations"]

    assert annotations[0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [10, 20, 100, 50.5],
        "area": 5050.0,
        "score": 0.9,
        "iscrowd": 0,
    }


def test_ids_of_images_are_the_numbers_of_their_lines_and_failed_ones_need_a_size() -> None:
    images = written(LINES)["images"]

    assert [(image["id"], image["file_name"]) for image in images] == [
        (1, "a.jpg"),
        (3, "crashed.jpg"),
        (4, "sub/é.jpg"),
        (5, "z.jpg"),
    ]
    assert images[1]["height"] == 100
    assert images[1]["width"] == 200


def test_categories_are_the_models_names_from_one() -> None:
    assert [(c["id"], c["name"]) for c in written([])["categories"]] == [(1, "cat"), (2, "dog")]


def test_no_line_at_all_is_a_valid_document() -> None:
    document = written([])

    assert document["images"] == document["annotations"] == []


def test_whole_picture_labels_give_images_without_annotations() -> None:
    document = written([{"image": "a.jpg", "status": "ok", "height": 1, "width": 1, "labels": []}])

    assert len(document["images"]) == 1
    assert document["annotations"] == []


def test_a_name_that_is_no_unicode_comes_back_as_it_was() -> None:
    assert written([line("caf\udce9.jpg")])["images"][0]["file_name"] == "caf\udce9.jpg"


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a\.jpg' has class id 2, the model has 2 classes"):
        written([line("a.jpg", detection(2, 0.5, 0, 0, 1, 1))])


def test_pycocotools_loads_the_file_as_ground_truth_and_as_results(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "coco.json"
    with path.open("wb") as out:
        write_coco(LINES, NAMES, out)

    truth = coco.COCO(str(path))
    results = truth.loadRes(json.loads(path.read_bytes())["annotations"])

    assert sorted(truth.getImgIds()) == [1, 3, 4, 5]
    assert truth.loadCats(truth.getCatIds())[1]["name"] == "dog"
    assert [a["bbox"] for a in truth.loadAnns(truth.getAnnIds(imgIds=[5]))] == [[1.25, 2.5, 2.5, 2.5]]
    assert len(results.getAnnIds()) == 3


def test_pycocotools_scores_detections_against_themselves_as_perfect(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    path = tmp_path / "coco.json"
    with path.open("wb") as out:
        write_coco(LINES, NAMES, out)
    truth = coco.COCO(str(path))

    run = evaluation.COCOeval(truth, truth.loadRes(json.loads(path.read_bytes())["annotations"]), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()

    assert run.stats[0] == pytest.approx(1.0)


def test_memory_stays_flat_over_many_lines(tmp_path: Path) -> None:
    def many() -> Iterator[dict[str, Any]]:
        for number in range(10_000):
            yield line(f"{number}.jpg", *[detection(0, 0.5, 0, 0, 10, 10)] * 5)

    with (tmp_path / "coco.json").open("wb") as out:
        tracemalloc.start()
        write_coco(many(), NAMES, out, spool=tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert (tmp_path / "coco.json").stat().st_size > 4 * 2**20
    assert peak < 12 * 2**20
    assert [path.name for path in tmp_path.iterdir()] == ["coco.json"]
