"""The page in a real Chromium before a real service: what users do, on wide and narrow screens, light and dark."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from playwright import sync_api as playwright

from pipelines.palette import colour_of
from tests.system.gateways import Gateway
from tests.system.processes import ROOT, drawn, pixelmill, until

pytestmark = pytest.mark.service

SAMPLES = ROOT / "samples"
PHOTOS = [SAMPLES / "animals" / "cat.jpg", SAMPLES / "people" / "astronaut.jpg"]
# how each test leaves the page, for people to look at; git ignores them
SCREENSHOTS = Path(os.environ.get("PIXELMILL_SCREENSHOTS") or ROOT / "out" / "screenshots")
CHROMIUM = os.environ.get("PIXELMILL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("page"))
    until(lambda: httpx.get(f"{made.url}/readyz").status_code == 200, "a worker is there")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium: install it, or name it in PIXELMILL_CHROMIUM")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[("light", 1280, 860), ("dark", 390, 844)], ids=["wide-light", "narrow-dark"])
def page(request: pytest.FixtureRequest, browser: Any, gateway: Gateway) -> Iterator[Any]:
    """The page, freshly opened; an error in its script or a file it may not load fails the test."""
    scheme, width, height = request.param
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, accept_downloads=True
    )
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    opened.goto(gateway.url)
    opened.wait_for_selector("[data-ref=pipeline] option", state="attached")
    yield opened
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")
    context.close()
    assert not wrong


ON_ONE_SCREEN = pytest.mark.parametrize("page", [("light", 1280, 860)], indirect=True, ids=["wide-light"])


def start(page: Any, pipeline: str, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])
    page.select_option("[data-ref=pipeline]", pipeline)
    page.click("button:text-is('Start')")


def finished(page: Any) -> None:
    page.wait_for_selector(".state.done, .state.some", timeout=60_000)


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_pictures_dropped_become_masks_to_look_at(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(PHOTOS[0].read_bytes()[:5000])

    start(page, "instances", *PHOTOS, broken)
    finished(page)
    until(lambda: page.evaluate("document.querySelectorAll('.tile img').length === 2"), "the page shows it")

    assert page.locator(".tile .name").all_inner_texts() == ["cat.jpg", "astronaut.jpg", "broken.jpg"]
    assert "1 cat" in page.locator(".tile .said").nth(0).inner_text()
    assert fits(page)
    page.click("button:text-is('Failures')")
    assert page.locator(".tile:visible .name").all_inner_texts() == ["broken.jpg"]
    assert "end" in page.locator(".tile:visible .said").inner_text()

    page.click("button:text-is('All')")
    page.click(".tile >> nth=0")
    until(lambda: page.evaluate("document.querySelector('.layers canvas')?.width > 300"), "the page shows it")
    painted = (
        "[...document.querySelector('.layers canvas').getContext('2d').getImageData(0,0,451,300).data].some(Boolean)"
    )
    assert page.evaluate(painted)
    found = page.locator("#viewer .found li").count()
    page.locator("#viewer input[type=range]").fill("0.99")
    assert page.locator("#viewer .found li").count() == 0 < found
    assert page.evaluate(painted) is False
    page.locator("#viewer input[type=range]").fill("0")
    page.get_by_role("checkbox", name="Masks").uncheck()
    assert page.evaluate(painted) is False
    assert page.locator("#viewer svg rect").count() >= 2 * found
    page.get_by_role("checkbox", name="Boxes").uncheck()
    assert page.locator("#viewer svg rect").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() == "astronaut.jpg"
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()


def test_results_are_downloaded_and_failures_tried_again(page: Any, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")

    start(page, "detect", PHOTOS[0], tmp_path / "text.jpg")
    finished(page)
    with page.expect_download() as waiting:
        page.select_option("[data-ref=download]", "coco")
    first = page.url

    assert '"file_name": "cat.jpg"' in Path(waiting.value.path()).read_text().replace('":"', '": "')
    page.click("text=Retry failures")
    page.wait_for_url(lambda url: url != first)
    finished(page)
    page.click("nav >> text=Jobs")
    page.wait_for_selector("tbody tr >> nth=1")
    assert fits(page)
    assert page.locator("tbody .state").nth(0).inner_text() == "done with failures"


def test_a_portrait_has_a_before_and_an_after(page: Any) -> None:
    start(page, "portrait", PHOTOS[1])
    finished(page)
    page.wait_for_selector(".tile img")

    page.click(".tile >> nth=0")
    page.wait_for_selector(".layers img.after")
    page.get_by_label("Before | after").fill("20")

    assert (
        page.evaluate("getComputedStyle(document.querySelector('.layers img.after')).clipPath")
        == "inset(0px 0px 0px 20%)"
    )


def test_generated_pictures_stand_in_a_grid_and_open_large(page: Any) -> None:
    page.select_option("[data-ref=pipeline]", "generate")
    page.fill("[name=count]", "6")
    page.fill("[name=seed]", "4294967290")
    page.click("button:text-is('Start')")
    finished(page)
    until(lambda: page.evaluate("document.querySelectorAll('.grid.made .tile img').length === 6"), "all are shown")

    assert page.locator(".tile .name").nth(5).inner_text() == "seed 4294967295"  # the last one there is
    page.click(".tile >> nth=5")
    until(lambda: page.evaluate("document.querySelector('.layers img')?.naturalWidth === 32"), "it is shown large")
    assert page.evaluate("document.querySelector('.layers').clientWidth") > 200
    assert "32 × 32 pixels" in page.locator("#viewer aside").inner_text()
    assert fits(page)


@ON_ONE_SCREEN
def test_pictures_are_dropped_cleared_and_dropped_again(page: Any) -> None:
    drop = """names => {
      const moved = new DataTransfer();
      for (const name of names) moved.items.add(new File(["x"], name, { type: "image/jpeg" }));
      const event = new DragEvent("drop", { dataTransfer: moved, cancelable: true });
      document.querySelector("[data-ref=drop]").dispatchEvent(event);
    }"""
    page.evaluate(drop, ["a.jpg", "b.jpg"])
    page.evaluate(drop, ["c.jpg"])
    assert page.locator("[data-ref=chosen]").inner_text() == "3 pictures"
    page.click("button:text-is('Clear')")
    assert page.locator("button:text-is('Start')").is_disabled()
    page.evaluate(drop, ["d.jpg"])
    page.select_option("[data-ref=pipeline]", "classify")
    page.click("button:text-is('Start')")
    page.wait_for_selector(".tile.failed")

    assert page.locator(".tile .name").all_inner_texts() == ["d.jpg"]
    assert "not an image" in page.locator(".tile .said").inner_text()


@ON_ONE_SCREEN
def test_a_class_has_one_colour_on_the_page_in_the_mask_and_in_the_drawing(page: Any, tmp_path: Path) -> None:
    drawn_smear = tmp_path / "smear"
    subprocess.run([sys.executable, str(SAMPLES / "smear.py"), str(drawn_smear)], check=True)
    smear = sorted(drawn_smear.iterdir())[0]
    shown = {}
    for pipeline in ("segment", "instances"):
        page.goto(page.url.partition("#")[0] + "#new")
        page.wait_for_selector("[data-ref=pipeline] option", state="attached")
        page.select_option("[data-ref=pipeline]", pipeline)
        page.select_option("[data-ref=model]", "smears-semantic" if pipeline == "segment" else "smears-yolo-seg")
        page.set_input_files("#files", str(smear))
        page.click("button:text-is('Start')")
        finished(page)
        page.wait_for_selector(".tile:not([disabled])")
        page.click(".tile >> nth=0")
        row = page.locator("#viewer .found li", has_text="red cell").first
        shown[pipeline] = row.locator("i").evaluate("one => getComputedStyle(one).backgroundColor")
        page.keyboard.press("Escape")

    assert shown["segment"] == shown["instances"] == "rgb({}, {}, {})".format(*colour_of(0))


@ON_ONE_SCREEN
def test_a_job_that_is_not_there_is_said_and_leads_on(page: Any) -> None:
    page.goto(page.url.partition("#")[0] + "#job/20260101-000000-00000000")

    page.click("text=See your jobs")
    page.wait_for_selector("h1:text-is('Jobs')")


def test_the_keyboard_is_enough(page: Any) -> None:
    page.set_input_files("#files", str(PHOTOS[0]))
    page.select_option("[data-ref=pipeline]", "classify")
    page.focus("button:text-is('Start')")
    page.keyboard.press("Enter")
    finished(page)
    page.wait_for_selector(".tile:not([disabled])")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('tile')"):
            break
    page.keyboard.press("Enter")

    assert page.locator("#viewer").is_visible()
    page.wait_for_selector("#viewer .found li")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('tile')")


def test_the_service_shows_its_workers_and_a_long_job_can_be_cancelled(page: Any, tmp_path: Path) -> None:
    many = [drawn(tmp_path / f"{number}.jpg", number, (900, 1200)) for number in range(80)]

    start(page, "instances", *many)
    page.wait_for_selector("[data-ref=cancel]:visible")
    page.click("[data-ref=cancel]")
    page.wait_for_selector(".state.cancelled", timeout=30_000)
    page.click("nav >> text=Service")
    page.wait_for_selector("[data-ref=workers] tr")

    assert "CPUExecutionProvider" in page.locator("[data-ref=workers]").inner_text()
    assert page.locator("[data-ref=chart] i").count() == 60
    assert "at most" in page.locator("[data-ref=hour]").inner_text()
    assert fits(page)


def test_a_page_without_a_token_asks_for_one(browser: Any, tmp_path: Path) -> None:
    token = pixelmill("tokens", "add", "me", "--data", str(tmp_path / "data")).stdout.strip()
    guarded = Gateway(tmp_path, "--tokens")
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(guarded.url)
        page.fill("#token", token)
        page.click("text=Continue")
        page.wait_for_selector("[data-ref=pipeline] option", state="attached")
        start(page, "classify", PHOTOS[0])
        finished(page)
        until(lambda: page.evaluate("document.querySelector('.tile img')?.naturalWidth > 0"), "the page shows it")
    finally:
        context.close()
        guarded.stop()
