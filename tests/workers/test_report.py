from __future__ import annotations

import base64
import html.parser
import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from workers.lines import evenly, printable
from workers.report import write_report
from workers.tally import Quantiles, tally

SUMMARY: dict[str, Any] = {
    "pipeline": "detect",
    "model": {"name": "ssd-mobilenet-v2", "sha256": "0123456789abcdef" * 4},
    "params": {"score_threshold": 0.25},
    "provider": "CPUExecutionProvider",
    "done": 2,
    "failed": 1,
    "failed_by_code": {"truncated": 1},
    "images_per_second": 34.81,
    "seconds": 187.2,
    "started": "2026-03-01T12:00:00+00:00",
    "finished": "2026-03-01T12:03:07+00:00",
    "kept": 0,
    "interrupted": False,
}
VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(html.parser.HTMLParser):
    """The page as a browser's parser sees it: its elements, its text, and whether every tag is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def photograph(path: Path, height: int = 60, width: int = 80, colour: tuple[int, int, int] = (200, 40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path, "JPEG")


def ok(image: str, *found: tuple[str, int, float], overlay: bool = True, **more: Any) -> dict[str, Any]:
    detections = [{"label": n, "class_id": c, "score": s, "box": [5, 5, 40, 40]} for n, c, s in found]
    line = {"image": image, "status": "ok", "height": 60, "width": 80, "detections": detections, **more}
    return line | ({"overlay": f"overlays/{image}"} if overlay else {})


def failed(image: str, code: str = "truncated", message: str = "the file ends too early") -> dict[str, Any]:
    return {"image": image, "status": "failed", "error": {"code": code, "message": message}}


def job(dst: Path, *lines: dict[str, Any]) -> Path:
    for line in lines:
        if "overlay" in line:
            photograph(dst / line["overlay"])
    (dst / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return dst


def page_of(dst: Path, limit: int = 200, **summary: Any) -> Page:
    page = Page(write_report(dst, SUMMARY | summary, limit).read_text("utf-8"))
    assert page.open == []
    return page


def test_the_page_says_what_was_done_with_what_and_how_well(tmp_path: Path) -> None:
    job(tmp_path, ok("a.jpg", ("cat", 0, 0.9)), ok("b.jpg", ("dog", 1, 0.8)), failed("c.jpg"))

    text = page_of(tmp_path).text

    for expected in (
        "detect with ssd-mobilenet-v2",
        "2 images done",
        "1 failed",
        "34.8 images per second",
        "3 min 07 s duration",
        "Provider CPUExecutionProvider",
        "Checksum 0123456789ab",
        "score threshold 0.25",
        "1 March 2026",
        "c.jpg truncated the file ends too early",
        "cat 0.90",
    ):
        assert expected in text


def test_nothing_on_the_page_comes_from_elsewhere(tmp_path: Path) -> None:
    job(tmp_path, ok("a.jpg", ("cat", 0, 0.9)), failed("c.jpg"))

    page = page_of(tmp_path)
    source = (tmp_path / "report.html").read_text("utf-8")

    assert "http://" not in source
    assert "https://" not in source
    assert page.all("link") == []
    assert all("src" not in script for script in page.all("script"))
    assert all(image.get("src", "data:").startswith("data:image/jpeg;base64,") for image in page.all("img")[:-1])


def test_thumbnails_are_the_overlays_and_link_to_them(tmp_path: Path) -> None:
    name = "sub folder/50% off? #1 é.jpg"
    job(tmp_path, ok(name, ("cat", 0, 0.9)))

    page = page_of(tmp_path)
    thumbnail = base64.b64decode(page.all("img")[0]["src"].partition(",")[2])
    link = next(one["href"] for one in page.all("a") if "data-full" in one)

    with Image.open(io.BytesIO(thumbnail)) as opened:
        assert opened.size == (80, 60)
        assert np.abs(np.array(opened.convert("RGB"), int).mean(axis=(0, 1)) - [200, 40, 40]).max() < 4
    assert not link.startswith("/")
    assert (tmp_path / os.fsdecode(unquote_to_bytes(link))).is_file()


HOSTILE = (
    "<script>document.title='owned'</script>.jpg",
    '" onmouseover="alert(1)" x=".jpg',
    "'><img src=x onerror=alert(1)>.jpg",
    "$title ${script} $$.jpg",
    "</script></style></title><b>.jpg",
    "&lt;&amp;.jpg",
    "--><!--.jpg",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text_wherever_it_stands(tmp_path: Path, name: str) -> None:
    flat = name.replace("/", "_")
    lines = [ok(flat, (name, 0, 0.9)), failed(name, name, name)]
    plain = [ok("a.jpg", ("cat", 0, 0.9)), failed("b", "c", "d")]
    (tmp_path / "plain").mkdir()

    page = page_of(job(tmp_path, *lines), pipeline=name, params={name: name}, provider=name, root=name)
    expected = page_of(job(tmp_path / "plain", *plain), root="/nowhere")

    assert [tag for tag, _ in page.elements] == [tag for tag, _ in expected.elements]
    assert [sorted(a) for _, a in page.elements] == [sorted(a) for _, a in expected.elements]
    assert name in page.texts
    assert any(figure["data-name"] == flat for figure in page.all("figure"))


def test_names_that_are_no_unicode_are_shown_and_linked(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    job(tmp_path, ok(name, ("cat", 0, 0.9)), failed("\ud800.jpg"))

    page = page_of(tmp_path)

    assert "caf\ufffd.jpg" in page.text
    assert any(one.get("href") == "overlays/caf%E9.jpg" for one in page.all("a"))


def test_an_overlay_outside_the_output_folder_is_neither_shown_nor_linked(tmp_path: Path) -> None:
    photograph(tmp_path / "secret.jpg")
    dst = tmp_path / "out"
    dst.mkdir()
    (dst / "results.jsonl").write_text(json.dumps(ok("a.jpg", overlay=False) | {"overlay": "../secret.jpg"}) + "\n")

    page = page_of(dst)

    assert "picture not there" in page.text
    assert not any("secret" in one.get("href", "") for one in page.all("a"))


def test_without_overlays_thumbnails_are_drawn_from_the_originals(tmp_path: Path) -> None:
    root, dst = tmp_path / "photos", tmp_path / "out"
    photograph(root / "a.jpg", 600, 800)
    dst.mkdir()
    line = ok("a.jpg", ("cat", 0, 0.9), overlay=False) | {"height": 600, "width": 800}
    line["detections"][0]["box"] = [200, 200, 600, 500]
    job(dst, line)

    page = page_of(dst, root=str(root))
    with Image.open(io.BytesIO(base64.b64decode(page.all("img")[0]["src"].partition(",")[2]))) as opened:
        shown = np.array(opened.convert("RGB"), int)

    assert shown.shape == (270, 360, 3)
    assert np.abs(shown - [200, 40, 40]).max() > 60  # a box and a chip were drawn
    assert not any("data-full" in one for one in page.all("a"))


def test_a_picture_that_is_gone_becomes_a_neutral_tile(tmp_path: Path) -> None:
    job(tmp_path, ok("a.jpg", ("cat", 0, 0.9)))
    (tmp_path / "overlays" / "a.jpg").unlink()

    page = page_of(tmp_path, root=str(tmp_path / "gone"))

    assert "picture not there" in page.text
    assert "cat 0.90" in page.text


def test_more_pictures_than_the_limit_are_sampled_evenly_and_it_is_said(tmp_path: Path) -> None:
    job(tmp_path, *[ok(f"{n:03d}.jpg", ("cat", 0, 0.9)) for n in range(100)])

    page = page_of(tmp_path, limit=4)

    assert [figure["data-name"] for figure in page.all("figure")] == ["000.jpg", "025.jpg", "050.jpg", "075.jpg"]
    assert "4 of 100 pictures, chosen evenly over the job" in page.text


def test_the_chart_counts_objects_and_for_whole_picture_labels_the_best_one(tmp_path: Path) -> None:
    labelled = {"image": "a.jpg", "status": "ok", "height": 60, "width": 80}
    best = [{"label": "cat", "class_id": 0, "score": 0.7}, {"label": "dog", "class_id": 1, "score": 0.2}]
    (tmp_path / "labels").mkdir()
    detected = job(tmp_path, ok("a.jpg", ("cat", 0, 0.9), ("cat", 0, 0.8), ("dog", 1, 0.7)))
    classified = job(tmp_path / "labels", labelled | {"labels": best})

    assert "Objects by label cat 2 dog 1" in page_of(detected).text
    assert "Pictures by top label cat 1 Time" not in page_of(classified).text
    assert "Pictures by top label cat 1 How" in page_of(classified).text


def test_an_interrupted_run_says_so_and_what_to_do(tmp_path: Path) -> None:
    job(tmp_path, ok("a.jpg"))

    assert "interrupted" in page_of(tmp_path, interrupted=True).text
    assert "interrupted" not in page_of(tmp_path).text


def test_a_job_without_results_or_with_a_bare_summary_still_has_a_page(tmp_path: Path) -> None:
    job(tmp_path)

    page = Page(write_report(tmp_path, {}).read_text("utf-8"))

    assert "0 images done" in page.text


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps(ok("a.jpg", overlay=False)) + '\n{"image": ')

    with pytest.raises(ValueError, match="line 2 of"):
        write_report(tmp_path, SUMMARY)


def test_memory_does_not_grow_with_the_job(tmp_path: Path) -> None:
    one = json.dumps(ok("a.jpg", ("cat", 0, 0.9), overlay=False, timings_ms={"read": 1.5})) + "\n"
    (tmp_path / "results.jsonl").write_text(one * 30_000)
    write_report(tmp_path, SUMMARY, limit=5)  # what is imported and cached once stays

    tracemalloc.start()
    write_report(tmp_path, SUMMARY, limit=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * 2**20


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_quantiles_are_those_of_numpy_to_a_fifth_of_a_percent(share: float) -> None:
    values = np.random.default_rng(3).lognormal(2, 1, 5001)
    sketch = Quantiles()

    for value in values:
        sketch.add(float(value))

    assert sketch.at(share) == pytest.approx(np.quantile(values, share, method="lower"), rel=0.00201)
    assert len(sketch.buckets) < 2000


def test_a_tally_counts_failures_by_code() -> None:
    total = tally([failed("a", "truncated"), failed("b", "truncated"), failed("c", "corrupt"), ok("d")])

    assert (total.total, total.ok, total.failed, total.empty) == (4, 1, 3, 1)
    assert total.failures == {"truncated": 2, "corrupt": 1}


@pytest.mark.parametrize(
    ("count", "limit", "expected"), [(0, 5, set()), (3, 5, {0, 1, 2}), (10, 3, {0, 3, 6}), (5, 0, set())]
)
def test_indices_are_spread_evenly(count: int, limit: int, expected: set[int]) -> None:
    assert evenly(count, limit) == expected


def test_what_cannot_be_shown_is_replaced() -> None:
    assert printable("a\x1b[1m\udce9\x00é") == "a\ufffd[1m\ufffd\ufffdé"


def test_the_modules_are_light_to_import() -> None:
    code = (
        "import sys, workers.report, workers.contact_sheet, workers.atomic\n"
        "sys.exit(bool({'numpy', 'cv2', 'PIL', 'onnxruntime'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.service
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")
def test_a_browser_runs_the_pages_script_and_no_other(tmp_path: Path) -> None:
    lines = [ok(f"{n}.jpg", (name, n, 0.9)) for n, name in enumerate(HOSTILE)]
    report = write_report(job(tmp_path, *lines, *[failed(name) for name in HOSTILE]), SUMMARY)

    dom = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", report.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    ).stdout.decode("utf-8")  # fmt: skip
    page = Page(dom)

    assert "<title>detect · ssd-mobilenet-v2 · 1 March 2026, 12:00</title>" in dom
    assert [button["hidden"] for button in page.all("button") if button.get("id") == "clear"] == [""]
    # the script sets this when it starts
    assert [p for p in page.all("p") if p.get("id") == "empty" and "hidden" in p]
    assert 'data-started="1"' in dom
