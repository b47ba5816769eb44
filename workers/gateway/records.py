"""What the gateway knows of its jobs: whose each is, and where its uploads and results lie.

    DATA/jobs/<ticket>/inputs/…     uploads, under safe names
    DATA/jobs/<ticket>/results/…    the job's output folder
    DATA/jobs/<ticket>/job.json     whose, which job, what was asked
    DATA/index/<job>                the ticket, by the job's id

Files, not a database: they lie beside what they describe, go with it, and several gateways on one folder share them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from workers.atomic import write_atomically
from workers.gateway.callers import Caller
from workers.gateway.problems import Problem

_JOB = re.compile(r"^[0-9a-z-]{8,64}$")
_STALE_SECONDS = 600  # a request that has held its ticket for longer died with its gateway


class Record(BaseModel):
    """A job of the gateway.

    job: its id; the last one of those that share the folder because they were tried again.
    ticket: its folder's name. asked: a digest of what was asked, to tell a repeated request from another one.
    images: names of the uploads in the order they came; empty for a job on references.
    """

    job: str
    ticket: str
    owner: str
    asked: str
    images: tuple[str, ...] = ()


class Records:
    """The jobs of a gateway's data folder."""

    def __init__(self, data: Path) -> None:
        """Take the folder; it is created if missing. Raises OSError if that fails."""
        self._jobs, self._index = data / "jobs", data / "index"
        for folder in (self._jobs, self._index):
            folder.mkdir(parents=True, exist_ok=True)

    def ticket(self, caller: Caller, key: str | None) -> str:
        """Name a new job's folder: by chance, or by the caller's key, so that a repeated request finds it again."""
        if key is None:
            return secrets.token_hex(16)
        return hashlib.sha256(f"{caller.id}\n{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def folder(self, ticket: str) -> Path:
        """Where a ticket's uploads and results lie."""
        return self._jobs / ticket

    def of_ticket(self, ticket: str) -> Record | None:
        """The job of a ticket, None if it has none (yet)."""
        try:
            return Record.model_validate_json((self.folder(ticket) / "job.json").read_bytes())
        except (OSError, ValueError):
            return None

    def find(self, job: str, caller: Caller) -> Record:
        """A caller's job. Raises Problem 404 for one that is not there, or is somebody else's."""
        record = None
        if _JOB.match(job):
            record = self._of_job(self._index / job)
        if record is None or not caller.sees(record.owner):
            raise Problem(404, "unknown_job", f"there is no job {job!r}: GET /v1/jobs lists yours")
        return record

    def all_of(self, caller: Caller, limit: int) -> list[Record]:
        """A caller's jobs, the newest first."""
        found: list[Record] = []
        for path in sorted(self._index.iterdir(), reverse=True):
            record = self._of_job(path)
            if record is not None and caller.sees(record.owner):
                found.append(record)
            if len(found) == limit:
                break
        return found

    def _of_job(self, path: Path) -> Record | None:
        """The record behind a file of the index; several jobs share a ticket where one was tried again."""
        try:
            record = self.of_ticket(path.read_text())
        except OSError:
            return None
        return None if record is None else record.model_copy(update={"job": path.name})

    def keep(self, record: Record) -> None:
        """Note a job, first beside its results, then under its id. Raises OSError."""
        with write_atomically(self.folder(record.ticket) / "job.json") as file:
            file.write(record.model_dump_json().encode())
        with write_atomically(self._index / record.job) as file:
            file.write(record.ticket.encode())

    @contextmanager
    def held(self, ticket: str) -> Iterator[Path]:
        """Hold a ticket while its uploads come; what came is removed if it does not become a job.

        Raises Problem 409 if another request with the same key is at it.
        """
        folder = self.folder(ticket)
        folder.mkdir(parents=True, exist_ok=True)
        claim = folder / "claim"
        with suppress(OSError):
            if time.time() - claim.stat().st_mtime > _STALE_SECONDS:
                claim.unlink()
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            raise Problem(
                409,
                "request_in_progress",
                "a request with this Idempotency-Key is still coming in",
                {"Retry-After": "2"},
            ) from None
        try:
            yield folder
        finally:
            claim.unlink(missing_ok=True)
            if self.of_ticket(ticket) is None:
                shutil.rmtree(folder, ignore_errors=True)

    def tickets(self) -> dict[str, list[str]]:
        """Every folder there is, with its jobs: several where one was tried again."""
        found: dict[str, list[str]] = {path.name: [] for path in sorted(self._jobs.iterdir()) if path.is_dir()}
        for path in sorted(self._index.iterdir()):
            found.get(_text(path), []).append(path.name)
        return found

    def remove(self, ticket: str, jobs: Iterable[str]) -> None:
        """Forget the jobs of a folder and remove it, with uploads and results. Raises OSError if it can't be."""
        (self.folder(ticket) / "job.json").unlink(missing_ok=True)  # from now on nobody finds it
        for job in jobs:
            (self._index / job).unlink(missing_ok=True)
        shutil.rmtree(self.folder(ticket))


def _text(path: Path) -> str:
    """What stands in a file; nothing if it has just gone."""
    try:
        return path.read_text()
    except OSError:
        return ""
