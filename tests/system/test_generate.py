"""Pictures from seeds, through the command line and through a service: resumed, extended, the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system import clients
from tests.system.clients import PATIENCE
from tests.system.processes import one_sentence, pixelmill, results
from workers import Client
from workers.seeds import seeds

place, url, client, output = clients.place, clients.url, clients.client, clients.output  # fixtures


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "pictures").iterdir())}


def test_a_job_of_seeds_is_extended_by_a_larger_count_and_repeats_nothing(tmp_path: Path) -> None:
    first = pixelmill("run", "generate", "--count", "3", "--seed", "7", "--out", tmp_path, "--json", "-q")
    before = made(tmp_path)
    (tmp_path / "pictures" / "seed-0000000008.png").unlink()

    second = pixelmill("run", "generate", "--count", "5", "--seed", "7", "--out", tmp_path, "--json", "-q")

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    told = json.loads(second.stdout)
    assert (told["ran"], told["finished_before"], told["done"]) == (3, 2, 5)
    assert list(results(tmp_path)) == [f"seed-{number:010d}.png" for number in range(7, 12)]
    assert before.items() <= made(tmp_path).items()


def test_a_service_gives_the_pictures_of_a_run_and_tries_seeds_again(
    client: Client, url: str, output: Path, tmp_path: Path
) -> None:
    alone = pixelmill("run", "generate", "--count", "4", "--class", "3", "--judge", "--out", tmp_path, "-q")

    words = ["submit", "generate", "--count", "4", "--class", "3", "--judge", "--out", output]
    job = pixelmill(*words, PIXELMILL_BROKER=url).stdout.strip()
    status = client.wait(job, timeout=PATIENCE)
    same = client.submit("generate", seeds(4), output=output, params={"classes": ["3"], "judge": True})
    again = client.retry(job, only_failures=False)

    assert alone.returncode == 0, alone.stderr
    assert status.state == "done"
    assert same == job
    assert client.wait(again, timeout=PATIENCE).state == "done"
    assert made(output) == made(tmp_path)
    assert {line["picture"]["class"] for line in results(output).values()} == {"3"}


def test_what_does_not_fit_together_is_said_in_one_sentence(tmp_path: Path) -> None:
    photograph = pixelmill("run", "generate", tmp_path, "--out", tmp_path / "out")
    seeded = pixelmill("run", "detect", "--count", "3", "--out", tmp_path / "out")

    assert "takes no picture" in one_sentence(photograph)
    assert "detect reads pictures" in one_sentence(seeded)
    assert not (tmp_path / "out").exists()
