"""What the HTTP API costs: one picture in-process, over the queue, over HTTP; many clients, uploads and listeners.

    python -m benchmarks.gateway            # some three minutes; writes its table into docs/performance.md
    python -m benchmarks.gateway --no-write

A gateway with broker and worker of its own. In-process, queue and HTTP take turns, picture by picture, in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

import pipelines
from benchmarks.throughput import DOCUMENT, machine, write_between
from workers import Client
from workers.remote import RemoteClient

PICTURE = Path(__file__).parents[1] / "samples" / "animals" / "cat.jpg"
PIPELINE, MODEL = "classify", "efficientnet-lite0"


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """Give a gateway's address, its broker's and its process."""
    log = folder / "log"
    words = [sys.executable, "-m", "workers.cli", "serve", "--embedded", "--port", "0", "--data", str(folder / "data")]
    words += ["--rate", "100000", "--max-body", "100"]
    with log.open("wb") as file:
        process = subprocess.Popen(words, stderr=file, stdin=subprocess.DEVNULL)
    try:
        while "http://" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        url = next(word for word in log.read_text().split() if word.startswith("http://"))
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.1)
        socket = (folder / "data" / "broker" / "socket-folder").read_text()
        yield url, f"redis+socket://{socket}/broker.sock", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def single(url: str, broker: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of one picture each way, in turns."""
    data = PICTURE.read_bytes()
    classify, queue, http = pipelines.load(MODEL), Client(broker), RemoteClient(url)
    ways = {
        "in-process": lambda: classify(data),
        "queue": lambda: queue.run(PIPELINE, data),
        "HTTP": lambda: http.run(PIPELINE, data),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 5):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if number >= 5:
                taken[name].append(time.perf_counter() - begun)
    return taken


async def many(url: str, clients: int, requests: int) -> tuple[float, list[float]]:
    """Requests a second, and the seconds of each, with so many clients at once."""
    data, left, taken = PICTURE.read_bytes(), iter(range(requests)), []

    async def one(client: httpx.AsyncClient) -> None:
        for _ in left:
            begun = time.perf_counter()
            answer = await client.post(f"/v1/predict/{PIPELINE}", content=data, headers={"Content-Type": "image/jpeg"})
            answer.raise_for_status()
            taken.append(time.perf_counter() - begun)

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        begun = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(clients)))
        return requests / (time.perf_counter() - begun), taken


async def listeners(url: str, count: int) -> tuple[int, float]:
    """Let so many hear a job's events; gives how many heard the end, and the seconds between the first and the last."""
    data = PICTURE.read_bytes()
    limits = httpx.Limits(max_connections=count + 10)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        files = [("files", (f"{number}.jpg", data)) for number in range(100)]
        job = (await client.post("/v1/jobs", data={"pipeline": PIPELINE}, files=files)).json()["job"]

        async def hear() -> float | None:
            async with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
                async for line in stream.aiter_lines():
                    if line == "event: end":
                        return time.perf_counter()
            return None

        heard = [when for when in await asyncio.gather(*(hear() for _ in range(count))) if when is not None]
        return len(heard), max(heard) - min(heard)


def uploads(url: str, process: psutil.Process, count: int, size: int) -> tuple[float, float, float]:
    """Upload so many pictures of so many bytes, ten a job; gives MB before, the most MB, and MB a second."""
    picture = PICTURE.read_bytes()
    data = picture + b"\0" * (size - len(picture))  # bytes behind a JPEG's end are no part of the picture
    before = most = process.memory_info().rss / 1e6
    begun = time.perf_counter()
    with httpx.Client(base_url=url, timeout=300) as client:
        for _ in range(count // 10):
            files = [("files", (f"{number}.jpg", data)) for number in range(10)]
            answer = client.post("/v1/jobs", data={"pipeline": PIPELINE, "overlays": "false"}, files=files)
            answer.raise_for_status()
            most = max(most, process.memory_info().rss / 1e6)
            client.delete(f"/v1/jobs/{answer.json()['job']}")
    return before, most, count * size / 1e6 / (time.perf_counter() - begun)


def _ms(seconds: list[float]) -> str:
    cut = statistics.quantiles(seconds, n=20)
    return f"{1000 * statistics.median(seconds):.1f} | {1000 * cut[18]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--rounds", type=int, default=200, help="pictures each way; default: %(default)s")
    parser.add_argument("--uploads", type=int, default=1000, help="of 5 MB; default: %(default)s")
    arguments = parser.parse_args()
    rows: list[str] = [machine(), ""]
    with tempfile.TemporaryDirectory(prefix="pixelmill-") as name, gateway(Path(name)) as (url, broker, process):
        taken = single(url, broker, arguments.rounds)
        rows += [f"One picture, `{PIPELINE}`, {arguments.rounds} each way, in turns:", ""]
        rows += ["| way | median, ms | p95, ms | over in-process, ms |", "| --- | --- | --- | --- |"]
        base = statistics.median(taken["in-process"])
        rows += [
            f"| {way} | {_ms(seconds)} | {1000 * (statistics.median(seconds) - base):.1f} |"
            for way, seconds in taken.items()
        ]
        rows += ["", "| clients at once | requests/s | median, ms | p95, ms |", "| --- | --- | --- | --- |"]
        for clients in (1, 8, 32):
            rate, each = asyncio.run(many(url, clients, 2 * arguments.rounds))
            rows.append(f"| {clients} | {rate:.0f} | {_ms(each)} |")
        heard, apart = asyncio.run(listeners(url, 200))
        before, most, speed = uploads(url, process, arguments.uploads, 5_000_000)
    rows += [
        "",
        f"200 listeners of one job's events: {heard} heard its end, the last {1000 * apart:.0f} ms after the first.",
        f"{arguments.uploads:,} uploads of 5 MB, {speed:.0f} MB/s: the gateway had {before:.0f} MB before, at most "
        f"{most:.0f} MB.",
    ]
    text = "\n".join(rows)
    print(text)
    if not arguments.no_write:
        write_between(DOCUMENT, "gateway", text)


if __name__ == "__main__":
    main()
