"""What is finished, on disk: a journal an attempt, merged into `results.jsonl`.

Each attempt at a shard appends to a file of its own, so no two processes ever write into one; a line that a kill cut
off is not a line. `settle` merges the journals into `results.jsonl` (sorted by name, one line an image, replaced at
once) and may be interrupted and repeated at any point: that is what makes a run continue after a kill at any moment.

    DST/results.jsonl
    DST/.pixelmill/journal/<job>/<shard>.<random>.jsonl
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from workers.artefacts import is_complete
from workers.atomic import write_atomically
from workers.folder import Found, sort_key

RESULTS = "results.jsonl"
STATE = ".pixelmill"

# Failures that lie in the image's bytes alone; the same bytes would fail again. All others are tried again.
LASTING = frozenset({"empty_file", "not_an_image", "truncated", "corrupt", "unsupported_pixels"})

Line: TypeAlias = dict[str, Any]

_NO_FILE = {"bytes": 0, "mtime_ns": 0}  # as `workers.seeds` lists what has none


def journal_folder(output: Path, job: str) -> Path:
    """Where the journals of a job are."""
    return output / STATE / "journal" / job


def check_present(output: Path) -> None:
    """Raise FileNotFoundError if an output folder that a job was given is not there now, or not what it was.

    Whoever submits a job makes the folder for its state. Where a disk was mounted an empty folder is left, and results
    that were written into it would be out of sight when the disk is back.
    """
    if not (output / STATE).is_dir():
        raise FileNotFoundError(errno.ENOENT, f"the output folder is away ({STATE} is not in it)", str(output))


class Journal:
    """The open journal of one attempt; many threads may write."""

    def __init__(self, output: Path, job: str, shard: str, attempt: str) -> None:
        """Begin a journal. Raises OSError if it can't be created."""
        check_present(output)
        folder = journal_folder(output, job)
        for one in (folder.parent, folder):
            one.mkdir(exist_ok=True)
        self.path = folder / f"{shard}.{attempt.rpartition(':')[2]}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._lock = Lock()

    def start(self, name: str, stage: str = "") -> None:
        """Note that work on an image begins, or comes to a stage, so that a process that dies on it leaves a trace."""
        self._append({"start": name, "stage": stage} if stage else {"start": name})

    def stopped(self, cause: str, over: list[str]) -> None:
        """Note that the process ends itself, why, and over which of the images in work."""
        self._append({"stopped": cause, "over": over})

    def result(self, line: Line) -> None:
        """Append an image's result. Raises OSError when the disk is full."""
        self._append(line)

    def is_current(self) -> bool:
        """Whether the journal is still in its place; if not, the job was ended without this attempt."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file))
        except OSError:
            return False

    def discard(self) -> None:
        """Close, and leave no trace: the attempt came too late."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others may have theirs in it
            self.path.parent.rmdir()

    def close(self) -> None:
        """Sync and close."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def _append(self, line: Line) -> None:
        data = (json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n").encode()
        with self._lock:
            written = os.write(self._file, data)
            if written != len(data):  # a disk that fills up takes a part; the rest of the line must not follow later
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def read_lines(path: Path) -> Iterator[Line]:
    """Read the whole lines of a JSON Lines file; a torn or foreign line is passed over, a missing file is empty."""
    try:
        with path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line
    except FileNotFoundError:
        return


@dataclass(frozen=True, slots=True)
class Totals:
    """What `results.jsonl` holds."""

    ok: int = 0
    failed_by_code: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Images that gave an error."""
        return sum(self.failed_by_code.values())


def settle(output: Path) -> None:
    """Merge all journals into `results.jsonl`; a newer line of an image replaces the older.

    Raises OSError if that can't be written; then nothing is changed.
    """
    check_present(output)
    journals = output / STATE / "journal"
    jobs = sorted(path for path in journals.glob("*") if path.is_dir())
    if not jobs:
        return
    results = output / RESULTS
    streams = [_sorted_lines(results), *(_job_lines(job) for job in jobs)]
    with write_atomically(results) as file:
        for line in _merged(streams):
            file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
    for job in jobs:
        shutil.rmtree(job, ignore_errors=True)


def drop_vanished(output: Path, root: Path) -> int:
    """Take failures whose image is no longer there out of `results.jsonl`: nobody can act on them any more.

    What was found in an image that has since been moved away is kept: people clear their input as they go, and a disk
    that is not mounted must not cost anyone a result.
    Returns how many were taken out. Raises OSError if the file can't be written; then nothing is changed.
    """
    failed = (line for line in filter(names_image, read_lines(output / RESULTS)) if line.get("status") != "ok")
    gone = {line["image"] for line in failed if not _exists(root, line["image"])}
    if not gone:
        return 0
    with write_atomically(output / RESULTS) as file:
        for line in read_lines(output / RESULTS):
            if line.get("image") not in gone:
                file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
    return len(gone)


def totals(output: Path) -> Totals:
    """Count what `results.jsonl` holds."""
    ok = 0
    failed: dict[str, int] = {}
    for line in read_lines(output / RESULTS):
        if line.get("status") == "ok":
            ok += 1
        else:
            code = _error_code(line)
            failed[code] = failed.get(code, 0) + 1
    return Totals(ok, failed)


def _merged(streams: list[Iterable[Line]]) -> Iterator[Line]:
    keyed = [_keyed(stream, age) for age, stream in enumerate(streams)]
    last: tuple[str, ...] | None = None
    for key, _, line in heapq.merge(*keyed, key=lambda entry: entry[:2]):
        if key != last:
            yield line
        last = key


def _keyed(stream: Iterable[Line], age: int) -> Iterator[tuple[tuple[str, ...], int, Line]]:
    for line in stream:
        yield sort_key(line["image"]), -age, line


def _sorted_lines(results: Path) -> Iterable[Line]:
    """The lines of `results.jsonl`, streamed; sorted in memory if someone has changed their order."""
    last: tuple[str, ...] = ()
    for line in filter(names_image, read_lines(results)):
        key = sort_key(line["image"])
        if key < last:
            return sorted(filter(names_image, read_lines(results)), key=lambda one: sort_key(one["image"]))
        last = key
    return filter(names_image, read_lines(results))


def _job_lines(job: Path) -> Iterator[Line]:
    """A job's lines in order: its shards were cut in order, so only each shard's own lines need sorting."""
    by_shard: dict[str, list[Path]] = {}
    for path in sorted(job.glob("*.jsonl")):
        by_shard.setdefault(path.name.partition(".")[0], []).append(path)
    for shard in sorted(by_shard):
        lines = {line["image"]: line for path in by_shard[shard] for line in read_lines(path) if names_image(line)}
        yield from sorted(lines.values(), key=lambda line: sort_key(line["image"]))


class Finished:
    """Which images need no work: those whose result was computed from the same bytes in the same way.

    Size and modification time stand for the bytes; where they differ, the checksum decides. Kept small (about 200 bytes
    an image), because a client may resume a million.
    """

    def __init__(self, output: Path, fingerprint: str | None, *, overlays: bool = False) -> None:
        """Read `results.jsonl`.

        fingerprint: of the results that can be reused; None: of none.
        overlays: an image whose picture was not drawn, or is gone, is not finished. Nor is one whose mask is gone.
        """
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        if fingerprint is None:
            return
        for line in filter(names_image, read_lines(output / RESULTS)):
            if line.get("fingerprint") != fingerprint or not _lasting(line):
                continue
            if line.get("status") == "ok" and not is_complete(output, line, overlays=overlays):
                continue
            try:
                file = _NO_FILE if _is_made(line) else line["file"]
                stamp = _stamp(int(file["bytes"]), int(file["mtime_ns"]))
                sha256 = bytes.fromhex(line.get("sha256") or "")
            except (KeyError, TypeError, ValueError, OverflowError):
                continue  # somebody has edited the line: compute the image again
            self._known[_digest(line["image"])] = (stamp, sha256)

    def __len__(self) -> int:
        return len(self._known)

    def covers(self, found: Found, root: Path) -> bool:
        """Whether this image has a result already."""
        known = self._known.get(_digest(found.name))
        if known is None or found.size < 0:
            return False
        stamp, sha256 = known
        return stamp == _stamp(found.size, found.mtime_ns) or (
            bool(sha256) and _file_sha256(root / found.name) == sha256
        )


def _exists(root: Path, name: str) -> bool:
    try:
        return os.path.lexists(root / name)
    except ValueError:
        return False


def _is_made(line: Line) -> bool:
    """Whether a picture was made from a seed alone: its name says all there is to know of its input."""
    picture = line.get("picture")
    return isinstance(picture, dict) and "seed" in picture and "file" not in line


def names_image(line: Line) -> bool:
    """Whether a line is an image's result."""
    return isinstance(line.get("image"), str)


def _error_code(line: Line) -> str:
    error = line.get("error")
    return str(error.get("code", "unknown")) if isinstance(error, dict) else "unknown"


def _lasting(line: Line) -> bool:
    return line.get("status") == "ok" or _error_code(line) in LASTING


def _digest(name: str) -> bytes:
    return blake2b(os.fsencode(name), digest_size=16).digest()


def _stamp(size: int, mtime_ns: int) -> bytes:
    return size.to_bytes(8, "little", signed=True) + mtime_ns.to_bytes(8, "little", signed=True)


def _file_sha256(path: Path) -> bytes:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
