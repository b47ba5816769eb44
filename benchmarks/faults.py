"""A soak: jobs flow in while workers die and freeze, and the broker, connections and disks fail; then the books.

    make faults                              five minutes, shared by the three kinds of broker
    SOAK=1h make faults                      an hour
    python -m benchmarks.faults --broker rabbitmq --seconds 60 --seed 3
    nice python -m benchmarks.faults --broker redis --seconds 30m --markdown row.md

The schedule follows from the seed (what a fault strikes also depends on the machine's speed). At the end every image
that was submitted must have exactly one result, the one of an undisturbed run, or one named failure; what was given up
must be a dead letter; and no process and no temporary file may be left. Exit status 1 if the books don't balance: each
WRONG line names the image or file, and the folder with the workers' log and the outputs concerned is kept.

Run it on a copy of the tree that nobody edits (`git worktree add DIR`): workers are started again all the time.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.soak_books import TABLE, Books, Job
from benchmarks.soak_faults import Saboteur
from benchmarks.soak_images import Specimen, some, specimens
from benchmarks.soak_service import BROKERS, Service, missing
from tests.system.service import MODEL, QUEUE
from workers.deadletters import DeadLetters
from workers.errors import BrokerError, JobError, OutputError
from workers.store import JobStore

IMAGES = 48  # in a job
JOBS = 3  # under way at a time
DRAIN_SECONDS = 240.0  # for what is under way when the last fault has struck


def soak(broker: str, seconds: float, seed: int, workers: int, folder: Path) -> Books:
    """Run it on one kind of broker; gives the books."""
    dice, books = random.Random(seed), Books(broker, seconds, seed, workers)
    healthy, others = specimens(folder / "specimens")
    service = Service(broker, folder, workers)
    saboteur = Saboteur(service, seed + 1)
    under_way: list[Job] = []
    end = time.monotonic() + seconds
    try:
        with saboteur:
            while time.monotonic() < end:
                if len(under_way) < JOBS:
                    under_way.append(_new_job(service, books, some(dice, healthy, others, IMAGES)))
                under_way = [job for job in under_way if not _is_over(service, job, books)]
                time.sleep(0.05)
        end = time.monotonic() + DRAIN_SECONDS
        while under_way and time.monotonic() < end:
            under_way = [job for job in under_way if not _is_over(service, job, books)]
            time.sleep(0.05)
        books.complaints += [f"job {job.number} ({job.id}) has not come to its end" for job in under_way]
        books.compare(DeadLetters(JobStore(service.servers.store), QUEUE).list())
    finally:
        books.complaints += service.stop()
    books.complaints += [f"{path} was left" for path in folder.rglob("*.tmp")]
    books.faults, books.restarts = saboteur.struck, service.restarts
    return books


def _new_job(service: Service, books: Books, images: dict[str, Specimen]) -> Job:
    books.jobs, books.images = books.jobs + 1, books.images + len(images)
    root = service.folder / f"in-{books.jobs:04}"
    root.mkdir()
    for name, specimen in images.items():
        (root / name).write_bytes(specimen.data)
    return Job(books.jobs, root, service.disk.folder / f"out-{books.jobs:04}", images)


def _is_over(service: Service, job: Job, books: Books) -> bool:
    """Submit the job if nobody has confirmed it yet; look whether it has ended, and enter what came of it."""
    try:
        client = service.client()
        if job.id is None:
            job.id = client.submit(
                "classify", str(job.root), output=job.output, params={"top_k": 3}, model=str(MODEL),
                overlays=False, key=f"soak-{job.number}", priority=("high", "normal", "bulk")[job.number % 3],
            )  # fmt: skip
        status = client.status(job.id)
    except (BrokerError, OutputError):
        return False  # away, or its disk is full; submitting again under the same key gives the same job
    except JobError as error:
        books.complaints.append(f"job {job.number} was not taken: {error}")
        return True
    if not status.has_ended:
        return False
    if status.state not in ("done", "done with failures"):
        books.complaints.append(f"job {job.number} ({job.id}) is {status.state}: {status.reason}")
    books.enter(job)
    return True


def _seconds(text: str) -> float:
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)


def main() -> int:
    """Soak, and print the books."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", choices=[*BROKERS, "all"], default="all")
    parser.add_argument(
        "--seconds", type=_seconds, default=_seconds(os.environ.get("SOAK") or "5m"), help="of all brokers together"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a table of the books there, too")
    options = parser.parse_args()
    brokers = list(BROKERS) if options.broker == "all" else [options.broker]
    for broker in list(brokers):
        if (lack := missing(broker)) is not None:
            print(f"{broker} is left out: {lack}")
            brokers.remove(broker)
    if not brokers:
        return 1
    # what is interrupted must not leave workers behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    made = []
    for broker in brokers:
        folder = Path(tempfile.mkdtemp(prefix=f"pixelmill-soak-{broker}-"))
        print(f"\n{broker}", flush=True)
        books = soak(broker, options.seconds / len(brokers), options.seed, options.workers, folder)
        made.append(books)
        print(f"\n{books.printed()}", flush=True)
        if books.complaints:
            print(f"see {folder}")
        else:
            shutil.rmtree(folder)
        if options.markdown is not None:
            options.markdown.write_text(TABLE + "".join(one.row() for one in made))
    return 1 if any(books.complaints for books in made) else 0


if __name__ == "__main__":
    sys.exit(main())
