"""A soak: jobs flow in while workers die and freeze, and the broker, connections and disks fail; then the books.

    make faults                 five minutes
    SOAK=1h make faults         an hour
    python -m benchmarks.faults --seconds 60 --seed 3

The schedule follows from the seed (what a fault strikes also depends on the machine's speed). At the end every image
that was submitted must have exactly one result, the one of an undisturbed run, or one named failure; and no process and
no temporary file may be left. Exit status 1 if the books don't balance.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.soak_images import Specimen, some, specimens
from tests.redis_server import RedisServer
from tests.system.processes import PIXELMILL, environment
from tests.system.service import MODEL, POISONABLE, QUEUE
from workers.client import Client
from workers.deadletters import DeadLetters
from workers.errors import BrokerError, JobError
from workers.store import JobStore

IMAGES = 48  # in a job
JOBS = 3  # under way at a time
LETTERS = "(dead letters in the service)"
DRAIN_SECONDS = 240.0  # for what is under way when the last fault has struck


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
    """What went in, what came out, what was done to the service."""

    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    jobs: int = 0
    images: int = 0


class Service:
    """A broker and workers under a supervisor, as a container platform would run them."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.broker = RedisServer(folder / "redis")
        self.broker.start()
        self._log = (folder / "workers.log").open("ab")
        self._wanted = workers
        self.workers: list[psutil.Popen] = []
        self.restarts = 0

    def supervise(self) -> None:
        """Start workers until there are as many as there should be."""
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < self._wanted:
            limits = {
                "PIXELMILL_IMAGE_SECONDS": "2",
                "PIXELMILL_MEMORY_GROWTH": "400",
                "PIXELMILL_PATIENCE_SECONDS": "600",
            }
            command = [*PIXELMILL, "worker", "--broker", self.broker.url, "--root", str(self.folder)]
            self.workers.append(
                psutil.Popen(
                    [*command, "--processes", "2", "--threads", "1", "--log-level", "WARNING"],
                    env=environment(**POISONABLE, **limits), stdout=self._log, stderr=self._log,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )
            )  # fmt: skip
            self.restarts += 1

    def stop(self) -> list[str]:
        """End the workers as an operator would; gives what is left of them."""
        family = [process for worker in self.workers if worker.is_running() for process in family_of(worker)]
        for process in family:
            process.resume()
        for worker in self.workers:
            worker.terminate()
        _, left = psutil.wait_procs(family, timeout=30)
        said = [f"process {process.pid} was left" for process in left if process.is_running()]
        for process in left:
            process.kill()
        self.broker.stop()
        self._log.close()
        return said


def family_of(worker: psutil.Process) -> list[psutil.Process]:
    """A worker's processes, as far as they live."""
    try:
        return [worker, *worker.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Saboteur:
    """Does one thing after the other to a service, and gives back in time what it took away for a while."""

    def __init__(self, service: Service, dice: random.Random, books: Books) -> None:
        self._service, self._dice, self._books = service, dice, books
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._next = time.monotonic() + 3
        self._faults: dict[str, Callable[[], None]] = {
            "SIGKILL of a pool process": self._kill_child,
            "SIGKILL of a whole worker": self._kill_worker,
            "SIGSTOP of a pool process": lambda: self._freeze(self._child()),
            "SIGSTOP of a whole worker": lambda: self._freeze(*family_of(self._worker())),
            "SIGKILL of the broker": self._kill_broker,
            "all connections cut": self._cut,
            "no file may grow (a full disk)": self._fill_disk,
        }

    def act(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        due = [undo for when, undo in self._later if when <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for undo in due:
            undo()
        if now >= self._next:
            name = self._dice.choice(list(self._faults))
            self._next = now + self._dice.uniform(1.5, 5.0)
            try:
                self._faults[name]()
            except (psutil.Error, LookupError, BrokerError, OSError):
                return  # whom it should have struck has just died of another
            self._books.faults[name] += 1
            print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)

    def rest(self) -> None:
        """Give everything back."""
        for _, undo in self._later:
            undo()
        self._later = []

    def _worker(self) -> psutil.Process:
        return self._dice.choice(self._service.workers)

    def _child(self) -> psutil.Process:
        return self._dice.choice(self._worker().children())

    def _kill_child(self) -> None:
        self._child().kill()

    def _kill_worker(self) -> None:
        for process in family_of(self._worker()):
            process.kill()

    def _freeze(self, *processes: psutil.Process) -> None:
        def thaw() -> None:
            for process in processes:
                if process.is_running():
                    process.resume()

        for process in processes:
            process.suspend()
        self._later.append((time.monotonic() + self._dice.uniform(1, 12), thaw))

    def _kill_broker(self) -> None:
        self._service.broker.kill()
        time.sleep(self._dice.uniform(0, 2))
        self._service.broker.start()

    def _cut(self) -> None:
        JobStore(self._service.broker.url).redis.client_kill_filter(_type="normal")

    def _fill_disk(self) -> None:
        processes = family_of(self._worker())

        def limit(soft: int) -> None:
            for process in processes:
                if process.is_running():
                    process.rlimit(psutil.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

        limit(0)
        self._later.append((time.monotonic() + self._dice.uniform(0.5, 4), lambda: limit(resource.RLIM_INFINITY)))


def soak(seconds: float, seed: int, workers: int, folder: Path) -> Books:
    """Run it; gives the books."""
    dice, books = random.Random(seed), Books()
    healthy, others = specimens(folder / "specimens")
    service = Service(folder, workers)
    saboteur = Saboteur(service, random.Random(seed + 1), books)
    under_way: list[Job] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end or under_way:
            now = time.monotonic()
            if now < end:
                saboteur.act()
            else:
                saboteur.rest()
            service.supervise()
            if now < end and len(under_way) < JOBS:
                under_way.append(_new_job(folder, books, some(dice, healthy, others, IMAGES)))
            under_way = [job for job in under_way if not _is_over(service, job, books)]
            if now > end + DRAIN_SECONDS:
                books.complaints += [f"job {job.number} ({job.id}) has not come to its end" for job in under_way]
                break
            time.sleep(0.05)
        letters = DeadLetters(JobStore(service.broker.url), QUEUE).count()
        books.outcomes[LETTERS] = letters
    finally:
        books.complaints += service.stop()
    left = [str(path) for path in folder.rglob("*.tmp")] + [
        str(path) for path in folder.glob("out-*/.pixelmill/journal/*")
    ]
    books.complaints += [f"{path} was left" for path in left]
    books.faults["(workers started)"] = service.restarts
    return books


def _new_job(folder: Path, books: Books, images: dict[str, Specimen]) -> Job:
    books.jobs, books.images = books.jobs + 1, books.images + len(images)
    root = folder / f"in-{books.jobs:04}"
    root.mkdir()
    for name, specimen in images.items():
        (root / name).write_bytes(specimen.data)
    return Job(books.jobs, root, folder / f"out-{books.jobs:04}", images)


def _is_over(service: Service, job: Job, books: Books) -> bool:
    """Submit the job if nobody has confirmed it yet; look whether it has ended, and enter what came of it."""
    client = Client(service.broker.url, patience=5)
    try:
        if job.id is None:
            job.id = client.submit(
                "classify", str(job.root), output=job.output, params={"top_k": 3}, model=str(MODEL),
                overlays=False, key=f"soak-{job.number}", priority=("high", "normal", "bulk")[job.number % 3],
            )  # fmt: skip
        status = client.status(job.id)
    except BrokerError:
        return False  # it is away; submitting again under the same key gives the same job
    except JobError as error:
        books.complaints.append(f"job {job.number} was not taken: {error}")
        return True
    if not status.has_ended:
        return False
    if status.state not in ("done", "done with failures"):
        books.complaints.append(f"job {job.number} ({job.id}) is {status.state}: {status.reason}")
    _enter(job, books)
    shutil.rmtree(job.root)
    return True


def _enter(job: Job, books: Books) -> None:
    path = job.output / "results.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    seen = Counter(line["image"] for line in lines)
    for name in job.images:
        if seen[name] != 1:
            books.complaints.append(f"{name} of job {job.number} has {seen[name]} results")
    for line in lines:
        books.outcomes["ok" if line["status"] == "ok" else line["error"]["code"]] += 1
        complaint = job.images[line["image"]].complaint(line)
        if complaint is not None:
            books.complaints.append(f"{line['image']} of job {job.number}: {complaint}")


def _seconds(text: str) -> float:
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)


def main() -> int:
    """Soak, and print the books."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=_seconds, default=_seconds(os.environ.get("SOAK") or "5m"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pixelmill-soak-"))
    # what is interrupted must not leave workers behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    books = soak(options.seconds, options.seed, options.workers, folder)
    print(f"\nseed {options.seed}, {options.seconds:g} s, {options.workers} workers of 2 processes\n")
    for title, counts in (("faults", books.faults), ("images", books.outcomes)):
        print(title)
        for name, count in counts.most_common():
            print(f"  {count:7}  {name}")
    results = sum(books.outcomes.values()) - books.outcomes[LETTERS]
    print(f"\n{books.images} images submitted in {books.jobs} jobs, {results} results")
    for complaint in books.complaints:
        print(f"WRONG: {complaint}")
    print("the books balance" if not books.complaints else f"{len(books.complaints)} entries are wrong; see {folder}")
    if not books.complaints:
        shutil.rmtree(folder)
    return 1 if books.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
