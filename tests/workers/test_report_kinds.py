"""The report and the contact sheet of masks, classes and made pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.masks import PlacedMask
from pipelines.results import RenderedPicture
from tests.workers.test_report import Page, failed, job, page_of, photograph
from workers.artefacts import write_picture
from workers.contact_sheet import write_contact_sheet
from workers.tally import tally


def segmented(image: str, **shares: int) -> dict[str, Any]:
    """A result whose classes have these shares of 100 × 100 pixels, in per cent; what is left is background."""
    shares = {"__background__": 100 - sum(shares.values()), **shares}
    names = ["__background__", "red_cell", "white_cell"]
    segments = [
        {"label": name, "class_id": names.index(name), "pixels": 100 * share, "share": share / 100}
        for name, share in shares.items()
        if share
    ]
    line = {"image": image, "status": "ok", "height": 100, "width": 100, "segments": segments}
    return line | {"mask": f"masks/{image}.png", "overlay": f"overlays/{image}"}


def instances(image: str, *found: tuple[str, int, float]) -> dict[str, Any]:
    mask = PlacedMask(5, 5, np.ones((20, 30), np.bool_)).to_rle((60, 80))
    rows = [{"label": n, "class_id": c, "score": s, "box": [5, 5, 35, 25], "mask": mask} for n, c, s in found]
    return {
        "image": image,
        "status": "ok",
        "height": 60,
        "width": 80,
        "instances": rows,
        "overlay": f"overlays/{image}",
    }


def made(dst: Path, image: str, channels: int = 3, **facts: Any) -> dict[str, Any]:
    picture = RenderedPicture(np.full((60, 80, channels), 90, np.uint8), facts)
    line = {"image": image, "status": "ok", "height": 60, "width": 80, **picture.to_json()}
    line["picture"]["file"] = write_picture(dst, image, picture)
    return line


def test_the_chart_of_classes_shows_their_shares_of_all_pixels_without_the_background(tmp_path: Path) -> None:
    page = page_of(job(tmp_path, segmented("a.jpg", red_cell=30, white_cell=10), segmented("b.jpg", red_cell=50)))

    assert "Share of the pixels by class red_cell 40.0% white_cell 5.0%" in page.text
    assert "2 classes found" in page.text
    assert "__background__" not in page.text
    assert "objects found" not in page.text


def test_pictures_with_classes_list_the_largest_first_and_can_be_filtered_by_them(tmp_path: Path) -> None:
    page = page_of(job(tmp_path, segmented("a.jpg", white_cell=30, red_cell=10), segmented("b.jpg")))

    first, second = page.all("figure")
    assert "white_cell 30.0% red_cell 10.0%" in page.text
    assert json.loads(first["data-labels"]) == ["red_cell", "white_cell"]
    assert json.loads(second["data-labels"]) == []
    assert "nothing found" in page.text
    assert [option["value"] for option in page.all("option")] == ["", "red_cell", "white_cell"]


def test_instances_are_counted_as_the_objects_they_are(tmp_path: Path) -> None:
    page = page_of(job(tmp_path, instances("a.jpg", ("cat", 0, 0.9), ("cat", 0, 0.8), ("dog", 1, 0.005))))

    assert "Objects by label cat 2 dog 1" in page.text
    assert "3 objects found" in page.text
    assert "cat ×2 0.90" in page.text
    assert "dog 0.01" in page.text


def test_a_made_picture_is_linked_and_says_whose_part_is_how_large(tmp_path: Path) -> None:
    lines = [made(tmp_path, "a.jpg", 4, person_share=0.314, effect="cutout"), made(tmp_path, "b.jpg", person_share=0.0)]

    page = page_of(job(tmp_path, *lines))

    links = [one for one in page.all("a") if "data-full" in one]
    assert [(one["href"], "data-alpha" in one) for one in links] == [
        ("pictures/a.jpg.png", True),
        ("pictures/b.jpg", False),
    ]
    assert "person 31.4%" in page.text
    assert "person none" in page.text
    assert "nothing found" not in page.text
    assert "objects found" not in page.text


def test_a_picture_of_a_class_says_which(tmp_path: Path) -> None:
    page = page_of(job(tmp_path, made(tmp_path, "a.png", **{"class": "white cell", "judged_real_share": 0.6})))

    assert "class white cell judged real 60.0%" in page.text


def test_where_nothing_is_labelled_no_label_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    without = page_of(job(tmp_path / "made", made(tmp_path / "made", "a.jpg")))
    with_labels = page_of(job(tmp_path, instances("a.jpg", ("cat", 0, 0.9))))

    assert "hidden" in without.all("select")[0]
    assert "hidden" not in with_labels.all("select")[0]


def test_a_made_picture_that_is_gone_becomes_a_neutral_tile(tmp_path: Path) -> None:
    line = made(tmp_path, "a.jpg")
    (tmp_path / line["picture"]["file"]).unlink()

    page = page_of(job(tmp_path, line))

    assert "picture not there" in page.text
    assert not [one for one in page.all("a") if "data-full" in one]


@pytest.mark.parametrize("picture", [None, {}, {"file": 3}, {"file": "../../secret.jpg"}, {"file": ""}, "x"])
def test_a_line_somebody_has_edited_does_not_stop_the_report(tmp_path: Path, picture: object) -> None:
    dst = tmp_path / "out"
    dst.mkdir()
    photograph(tmp_path / "secret.jpg")

    page = page_of(job(dst, {"image": "a.jpg", "status": "ok", "height": 6, "width": 8, "picture": picture}))
    write_contact_sheet(dst)

    assert "picture not there" in page.text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>_share", '" onload="alert(1)_share'])
def test_a_hostile_fact_stays_text(tmp_path: Path, name: str) -> None:
    page = page_of(job(tmp_path, made(tmp_path, "a.jpg", **{name: 0.5})))

    assert len(page.all("script")) == 1
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert any(name.removesuffix("_share") in one for one in page.texts)


def test_parameters_that_were_not_set_are_left_out(tmp_path: Path) -> None:
    page: Page = page_of(job(tmp_path, made(tmp_path, "a.jpg")), params={"blur": 2.0, "background_sha256": None})

    assert "blur 2.0" in page.text
    assert "background sha256" not in page.text


def test_a_tally_adds_up_the_pixels_of_classes(tmp_path: Path) -> None:
    total = tally([segmented("a", red_cell=30), segmented("b", red_cell=20, white_cell=1), segmented("c"), failed("d")])

    assert (total.kind, total.pixels, total.empty, total.failed) == ("classes", 30_000, 1, 1)
    assert total.labels == {"red_cell": 5000, "white_cell": 100}


def test_a_contact_sheet_shows_every_kind_of_result(tmp_path: Path) -> None:
    lines = [segmented("a.jpg", red_cell=30), segmented("b.jpg"), instances("c.jpg", ("cat", 0, 0.9), ("cat", 0, 0.8))]
    lines += [made(tmp_path, "d.jpg", 4, person_share=0.3), made(tmp_path, "e.jpg", strength=1.0)]

    path = write_contact_sheet(job(tmp_path, *lines), root=tmp_path / "gone")

    assert path is not None
    with Image.open(path) as opened:
        tiles = np.array(opened.convert("L"))
    assert tiles.std() > 10
