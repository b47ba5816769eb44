"""What the queue costs: one picture, shards with nothing in them, and a job of 100,000 images, on real servers.

    python -m benchmarks.queue                             # under four minutes; prints the tables
    python -m benchmarks.queue --markdown FILE             # and writes them there, too
    python -m benchmarks.queue --broker redis --pictures 20 --shards 300 --images 5000 --seconds 10

- One picture: through the pipeline in this process and through `Client.run`, in turn (benchmarks/latency.py).
- Shards without work: a job whose every shard is one name with no file behind it. Nothing is read, decoded or computed;
  what is left is message, lease, journal (with its fsync), one failed result, end of the shard, and feeding the next.
- 100,000 images: hard links to a picture of 64x64 pixels in folders of 1,000. A client of its own submits them; it,
  the servers and the worker are watched while the job's first minute runs, then it is cancelled. A job of 1,000 is run
  to its end before, on the same worker: memory is flat where the two look alike. Megabytes are at their highest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Event, Thread

import psutil

from benchmarks.latency import measure, rows
from benchmarks.soak_service import BROKERS, Servers, family_of, missing
from benchmarks.throughput import photographs
from pipelines.cores import available_cores
from tests.system.processes import PIXELMILL, drawn, environment, until
from workers import Client
from workers.store import JobStore

PIPELINE = "classify"
SMALL = 1000  # images of the job that the large one is compared with
MOST_SECONDS = 300.0
_FOLDER = 1000  # images in one

# a client in a process of its own: what it needs before, at its highest, and how long `submit` takes
_SUBMIT = """
import json, os, psutil, resource, sys, time
from workers import Client
asked = json.loads(sys.argv[1])
client = Client(asked["broker"], asked["store"])
client.service()
before = psutil.Process().memory_info().rss
began = time.perf_counter()
job = client.submit("classify", asked["inputs"], output=asked["output"], overlays=False)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"job": job, "seconds": seconds, "before": before, "peak": peak}))
"""


@dataclass
class Memory:
    """Bytes while something runs: the highest seen. servers: the broker and the store, by name; worker: all of it."""

    servers: dict[str, int] = field(default_factory=dict)
    worker: int = 0

    def note(self, servers: dict[str, int], worker: int) -> None:
        self.worker = max(self.worker, worker)
        self.servers = {name: max(value, self.servers.get(name, 0)) for name, value in servers.items()}


@dataclass(frozen=True)
class Job:
    """What a job needed. seconds, before, peak: of its client; images: done while it was watched for `watched` s."""

    seconds: float
    before: int
    peak: int
    memory: Memory
    images: int
    watched: float


class Bench:
    """One kind of broker, one worker with a process for each core, a folder."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.servers = Servers(broker, folder / "servers")
        self.store = JobStore(self.servers.store)
        self.client = Client(self.servers.url, self.servers.store)
        urls = {"PIXELMILL_BROKER": self.servers.url, "PIXELMILL_STORE": self.servers.store}
        options = ["--root", str(folder), "--processes", str(available_cores()), "--threads", "1"]
        self._log = (folder / "worker.log").open("wb")
        self.worker = psutil.Popen(
            [*PIXELMILL, "worker", *options, "--log-level", "WARNING"], env=environment(**urls),
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        try:
            until(lambda: any(one.ready for one in self.client.service().workers), "a worker is there")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        family = family_of(self.worker)
        self.worker.terminate()
        for one in psutil.wait_procs(family, timeout=30)[1]:
            one.kill()
        self.servers.stop()
        self._log.close()

    def submit(self, inputs: Path, name: str, **variables: str) -> dict[str, float | str]:
        """Submit a job in a process of its own."""
        asked = {"broker": self.servers.url, "store": self.servers.store, "inputs": str(inputs),
                 "output": str(self.folder / name)}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _SUBMIT, json.dumps(asked)], env=environment(**variables),
            capture_output=True, text=True, check=False, timeout=MOST_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        found: dict[str, float | str] = json.loads(done.stdout)
        return found

    def finished(self, job: str) -> int:
        progress = self.store.progress(job)
        return progress.ok + progress.failed

    def end(self, job: str) -> None:
        self.client.cancel(job)
        self.client.wait(job, timeout=MOST_SECONDS)

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        """Look at the memory of all that runs, five times a second."""
        memory, over = Memory(), Event()

        def look() -> None:
            while not over.wait(0.2):
                memory.note(self._servers(), sum(_resident(one) for one in family_of(self.worker)))

        thread = Thread(target=look, daemon=True)
        thread.start()
        try:
            yield memory
        finally:
            over.set()
            thread.join()

    def _servers(self) -> dict[str, int]:
        store = int(self.store.redis.info("memory")["used_memory"])
        if self.broker != "rabbitmq":
            return {"broker and store": store}
        return {"RabbitMQ": sum(_resident(one) for one in self._beam()), "store": store}

    def _beam(self) -> list[psutil.Process]:
        """The processes of RabbitMQ; it counts nothing that is comparable with a Redis server's `used_memory`."""
        here = psutil.Process().children(recursive=True)
        return [one for one in here if one.is_running() and one.name().startswith("beam")]


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def empty_shards(bench: Bench, count: int) -> float:
    """How many shards without work the service does in a second, from the submission to the last one's end."""
    names = bench.folder / "missing.txt"
    names.write_text("".join(f"nothing/{number:06}.jpg\n" for number in range(count)))
    began = time.perf_counter()
    job = str(bench.submit(names, "empty", PIXELMILL_SHARD_IMAGES="1")["job"])
    until(lambda: bench.finished(job) >= count, f"{count} shards are done", MOST_SECONDS)
    rate = count / (time.perf_counter() - began)
    bench.client.wait(job, timeout=MOST_SECONDS)
    return rate


def linked(folder: Path, count: int) -> Path:
    """A folder with so many names of small pictures; a file system bears some ten thousand links to one of them."""
    for first in range(0, count, _FOLDER):
        below = folder / f"{first // _FOLDER:04}"
        original = drawn(below / f"{first:07}.jpg", seed=first, size=(64, 64))
        for number in range(first + 1, min(first + _FOLDER, count)):
            os.link(original, below / f"{number:07}.jpg")
    return folder


def references(bench: Bench, count: int, seconds: float) -> Job:
    """Submit a job of so many images, and watch it for so long, or to its end."""
    folder = linked(bench.folder / f"in-{count}", count)
    with bench.watched() as memory:
        said = bench.submit(folder, f"out-{count}")
        job, began = str(said["job"]), time.perf_counter()
        while (done := bench.finished(job)) < count and time.perf_counter() - began < seconds:
            time.sleep(0.2)
        watched = time.perf_counter() - began
    bench.end(job)
    return Job(float(said["seconds"]), int(said["before"]), int(said["peak"]), memory, done, watched)


@dataclass
class Tables:
    """What was measured, as rows."""

    latency: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def written(self) -> str:
        where = f"{available_cores()} cores, load {os.getloadavg()[0]:.1f} at the end, {date.today().isoformat()}"
        return "\n".join([
            f"{where}; one worker with a process for each core.\n",
            f"| one picture, `{PIPELINE}` | way | p50 ms | p95 ms | over in-process, median of the differences, ms |",
            "| --- | --- | --- | --- | --- |", *self.latency,
            "\n| shards without work | a second |", "| --- | --- |", *self.shards,
            "\n| a job of images, 64x64 | submitted in, s | client before → highest, MB | servers, MB | worker, MB | "
            "images/s while it was watched |",
            "| --- | --- | --- | --- | --- | --- |", *self.jobs, "",
        ])  # fmt: skip

    def add_job(self, broker: str, count: int, job: Job) -> None:
        servers = " · ".join(f"{name} {_mb(value)}" for name, value in job.memory.servers.items())
        self.jobs.append(
            f"| {broker}, {count:,} | {job.seconds:.1f} | {_mb(job.before)} → {_mb(job.peak)} | {servers} | "
            f"{_mb(job.memory.worker)} | {job.images / job.watched:.0f} in {job.watched:.0f} s |"
        )


def _mb(value: int) -> str:
    return f"{value / 2**20:.1f}" if value < 100 * 2**20 else f"{value / 2**20:.0f}"


def take(broker: str, options: argparse.Namespace, tables: Tables) -> None:
    """All three measurements on one kind of broker."""
    with tempfile.TemporaryDirectory(prefix=f"queue-{broker}-", ignore_cleanup_errors=True) as folder:
        bench = Bench(broker, Path(folder))
        try:
            pictures = []
            for number, original in enumerate(photographs()[: options.pictures]):
                pictures.append(bench.folder / f"{number:04}.jpg")
                pictures[-1].write_bytes(original.read_bytes())
            times = measure(bench.servers.url, PIPELINE, pictures, bench.servers.store)
            tables.latency += rows(times, f"{broker} | ")
            tables.shards.append(
                f"| {broker}, {options.shards:,} of them | {empty_shards(bench, options.shards):.0f} |"
            )
            for count in (SMALL, options.images):
                tables.add_job(broker, count, references(bench, count, options.seconds))
        finally:
            bench.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=BROKERS, action="append", help="default: redis and rabbitmq")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a job is watched")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    tables = Tables()
    for broker in options.broker or ["redis", "rabbitmq"]:
        if (lack := missing(broker)) is not None:
            print(f"{broker} is left out: {lack}")
            continue
        take(broker, options, tables)
        print(f"{broker} is measured", flush=True)
    print(f"\n{tables.written()}")
    if options.markdown is not None:
        options.markdown.write_text(tables.written())
    return 0 if tables.jobs else 1


if __name__ == "__main__":
    sys.exit(main())
