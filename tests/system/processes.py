"""Real processes for whole journeys: start the command line, wait on conditions, find and count what it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PIXELMILL_DATA", ROOT.parent / "shared" / "data"))
PIXELMILL = [sys.executable, "-P", "-m", "workers.cli"]
_LOG_SHOWN = 10_000  # characters of a worker's log
PATIENCE = 60.0  # a loaded machine may be slow; nothing here is a measurement

T = TypeVar("T")
Lines = dict[str, dict[str, Any]]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: this one's, without a broker of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_")}
    return {**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}


def pixelmill(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [*PIXELMILL, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(**variables), cwd=cwd, check=False
    )


@contextmanager
def started(*arguments: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command; whatever of it is left afterwards is killed."""
    with _running(subprocess.PIPE, subprocess.PIPE, arguments, variables) as process:
        yield process


@contextmanager
def started_worker(*options: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start `pixelmill worker`. What it logs goes into a file, since a pipe nobody reads stops a worker after 64 KiB;
    pytest shows the end of it beside a test that fails.
    """
    with tempfile.TemporaryFile("w+") as log:
        try:
            with _running(log, subprocess.STDOUT, ("worker", *options), variables) as process:
                yield process
        finally:
            log.seek(0)
            print(log.read()[-_LOG_SHOWN:])


@contextmanager
def _running(
    stdout: Any, stderr: Any, arguments: tuple[str | Path, ...], variables: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PIXELMILL, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        everyone = descendants(process.pid)
        if process.poll() is None:
            process.kill()
        process.communicate()
        for one in everyone:
            if one.is_running():
                one.send_signal(signal.SIGKILL)


def until(condition: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """Wait until the condition gives something true, and give it back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Which of these are still there after the two seconds a kill may take; a zombie that nobody reaps is not."""
    _, left = psutil.wait_procs(processes, timeout=2)
    return [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def worker_of(run_pid: int) -> psutil.Process | None:
    """The parent process of the worker that a run has started."""
    return next((child for child in children(run_pid) if "worker" in command_line(child)), None)


def broker_of(run_pid: int) -> psutil.Process | None:
    return next((child for child in children(run_pid) if "valkey" in child.name()), None)


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def finished_images(output: Path) -> int:
    """Images whose result is on disk: in the journals or already merged."""
    texts = [*journals(output).values(), *read_if_there(output / "results.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.split("\n")[:-1]]
    return len({line["image"] for line in lines if "image" in line})


def journals(output: Path) -> dict[Path, str]:
    """The journals there are, and what stands in them now; they vanish when they are merged."""
    paths = sorted(output.glob(".pixelmill/journal/*/*.jsonl"))
    return {path: text for path in paths for text in read_if_there(path)}


def read_if_there(path: Path) -> list[str]:
    try:
        return [path.read_text()]
    except FileNotFoundError:
        return []


def results(output: Path) -> Lines:
    """`results.jsonl` by image, every line whole and every image once."""
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    by_image = {line["image"]: line for line in lines}
    assert len(by_image) == len(lines), "an image has more than one line"
    return by_image


def without_timings(lines: Lines) -> Lines:
    """What must be the same however often a run was disturbed."""
    return {name: {key: value for key, value in line.items() if key != "timings_ms"} for name, line in lines.items()}


def left_behind(output: Path) -> list[str]:
    """Temporary files, journals and broker data in an output folder, and processes that work for it."""
    files = [str(path) for path in output.rglob("*") if path.name.endswith(".tmp")]
    files += [str(path) for path in (output / ".pixelmill").glob("journal/*")]
    files += [str(path) for path in (output / ".pixelmill").glob("broker*")]
    return files + [f"process {process}" for process in processes_for(output)]


def processes_for(output: Path) -> list[psutil.Process]:
    """Every process with this output folder in its command line or environment."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            words = [*process.cmdline(), process.environ().get("PIXELMILL_PRELOAD", "")]
        except psutil.Error:
            continue
        if any(str(output) in word for word in words) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def photographs(folder: Path, count: int) -> Path:
    """A folder of photographs: those of coco128 where they are, else pictures drawn here."""
    folder.mkdir(parents=True)
    real = sorted((DATA / "coco128" / "images").glob("*.jpg"))[:count]
    for path in real:
        (folder / path.name).write_bytes(path.read_bytes())
    for number in range(len(real), count):
        drawn(folder / f"drawn-{number:03}.jpg", seed=number)
    return folder


def drawn(path: Path, seed: int = 0, size: tuple[int, int] = (240, 320)) -> Path:
    """A JPEG with some structure in it, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
    return path


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that could not run said: exit status 1, one line on stderr, no traceback."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    return lines[0]
