"""The soak's books: what went in, what came out, what was done to the service, and whether that agrees."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak_images import GIVEN_UP, Specimen
from workers.deadletters import DeadLetter

TABLE = (
    "| broker | when | done to it | went in | came out | wrong |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)  # fmt: skip


@dataclass(slots=True)
class Job:
    """A job that was submitted: its id once the service has confirmed it, and what must come of each image."""

    number: int
    root: Path
    output: Path
    images: dict[str, Specimen]
    id: str | None = None


@dataclass(slots=True)
class Books:
    """One soak's entries. faults: how often each was done. outcomes: images by result."""

    broker: str
    seconds: float
    seed: int
    workers: int
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    given_up: set[tuple[str | None, str]] = field(default_factory=set)  # job and image
    jobs: int = 0
    images: int = 0
    restarts: int = 0
    letters: int = 0

    def enter(self, job: Job) -> None:
        """Enter what came of a job that has ended, and remove its files if every entry is right."""
        path = job.output / "results.jsonl"
        lines = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
        before = len(self.complaints)
        seen = Counter(line["image"] for line in lines)
        self.complaints += [f"{name} of job {job.number} was never submitted" for name in seen.keys() - job.images]
        for name in job.images:
            if seen[name] != 1:
                self.complaints.append(f"{name} of job {job.number} ({job.id}) has {seen[name]} results")
        for line in lines:
            code = "ok" if line["status"] == "ok" else line["error"]["code"]
            self.outcomes[code] += 1
            if code in GIVEN_UP:
                self.given_up.add((job.id, line["image"]))
            specimen = job.images.get(line["image"])
            complaint = specimen.complaint(line) if specimen is not None else None
            if complaint is not None:
                self.complaints.append(f"{line['image']} of job {job.number} ({job.id}): {complaint}")
        left = [*job.output.rglob("*.tmp"), *(job.output / ".pixelmill" / "journal").glob("*")]
        self.complaints += [f"{path} was left" for path in left]
        shutil.rmtree(job.root)
        if len(self.complaints) == before:
            shutil.rmtree(job.output)

    def compare(self, letters: list[DeadLetter]) -> None:
        """Every image that was given up must be a dead letter, and nothing else."""
        kept = {(letter.job, letter.image or "") for letter in letters}
        self.letters = len(letters)
        missing, surplus = self.given_up - kept, kept - self.given_up
        self.complaints += [f"{image} of {job} was given up and is no dead letter" for job, image in missing]
        self.complaints += [f"{image} of {job} is a dead letter and was not given up" for job, image in surplus]

    def printed(self) -> str:
        """All of it, for a terminal."""
        lines = [f"{self.broker}: seed {self.seed}, {self.seconds:g} s, {self.workers} workers of 2 processes"]
        for title, counts in (("faults", self.faults), ("images", self.outcomes)):
            lines += [title, *(f"  {count:7}  {name}" for name, count in counts.most_common())]
        lines.append(
            f"{self.images} images submitted in {self.jobs} jobs, {self.outcomes.total()} results, {self.letters} dead "
            f"letters; workers were started {self.restarts} times"
        )
        lines += [f"WRONG: {complaint}" for complaint in self.complaints]
        lines.append(f"{len(self.complaints)} entries are wrong" if self.complaints else "the books balance")
        return "\n".join(lines)

    def row(self) -> str:
        """All of it, as a row of TABLE."""
        done = ", ".join(f"{count} × {name}" for name, count in self.faults.most_common())
        ok = self.outcomes["ok"]
        named = self.outcomes.total() - ok
        cells = (
            self.broker,
            f"{time.strftime('%Y-%m-%d')}, {self.seconds / 60:g} min, seed {self.seed}",
            f"{self.faults.total()}: {done}",
            f"{self.images} images in {self.jobs} jobs",
            f"{self.outcomes.total()} results: {ok} ok as undisturbed, {named} named failures, {self.letters} of them "
            "dead letters",
            str(len(self.complaints)),
        )
        return f"| {' | '.join(cells)} |\n"
