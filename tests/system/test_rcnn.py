"""The original R-CNN through a service: cells of a smear, and regions of a photograph named by a classifier."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.system import clients
from tests.system.clients import PATIENCE
from tests.system.processes import ROOT, pixelmill, results, without_timings
from workers import Client

place, url, client, output = clients.place, clients.url, clients.client, clients.output  # fixtures


def test_a_service_finds_the_cells_that_a_run_finds(
    client: Client, url: str, place: Path, output: Path, tmp_path: Path
) -> None:
    smears = place / "smears"
    subprocess.run([sys.executable, ROOT / "samples" / "smear.py", smears], check=True, capture_output=True)
    (smear, *_) = sorted(smears.iterdir())
    words = ["rcnn", smear, "--proposals", "250", "--strategy", "single", "--no-overlays"]
    alone = pixelmill("run", *words, "--out", tmp_path, "-q")

    job = pixelmill("submit", *words, "--out", output, PIXELMILL_BROKER=url).stdout.strip()

    assert client.wait(job, timeout=PATIENCE).state == "done"
    assert alone.returncode == 0, alone.stderr
    (line,) = results(output).values()
    counts = Counter(one["label"] for one in line["detections"])
    assert counts["white cell"] >= 1
    assert counts["red cell"] >= 5
    assert without_timings(results(output)) == without_timings(results(tmp_path))


def test_a_service_names_the_regions_of_a_photograph(client: Client, url: str, place: Path, output: Path) -> None:
    photograph = place / "cat.jpg"
    photograph.write_bytes((ROOT / "samples" / "animals" / "cat.jpg").read_bytes())

    words = ["submit", "rcnn", photograph, "--labels", "imagenet", "--out", output]
    job = pixelmill(*words, PIXELMILL_BROKER=url).stdout.strip()

    assert client.wait(job, timeout=PATIENCE).state == "done"
    (line,) = results(output).values()
    assert "cat" in line["detections"][0]["label"]  # one of ImageNet's kinds; the detector's own label is just "cat"
    assert line["detections"][0]["label"] != "cat"
