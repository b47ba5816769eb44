"""The output folder: one run at a time, and always for the same pipeline and input."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.artefacts import FOLDERS
from workers.atomic import is_temporary_name, write_atomically
from workers.atomic_folder import remove_temporary_folders
from workers.errors import OutputError
from workers.journal import STATE

_JOB = "job.json"


@contextmanager
def claim_output(output: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the output folder for one run; the kernel lets go of it when the process ends, however that ends.

    patience: seconds to wait for another one to let go of it.
    Raises OutputError if it can't be created or written, or if another run holds it.
    """
    state = output / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(f"output folder {output} can't be written: {error.strerror or error}") from error
    try:
        try:
            _lock(handle, patience)
        except BlockingIOError as error:
            raise OutputError(
                f"another run works into {output}: wait for it, end it, or choose another --out"
            ) from error
        except OSError as error:
            raise OutputError(f"output folder {output} can't be locked: {error.strerror or error}") from error
        prove_writable(output)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, patience: float) -> None:
    import fcntl

    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def remembered(output: Path) -> dict[str, Any] | None:
    """What the last run into this folder noted about itself; None if there was none."""
    try:
        noted: dict[str, Any] = json.loads((output / STATE / _JOB).read_bytes())
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) else None


def remember(output: Path, note: dict[str, Any]) -> None:
    """Note what this run does. Raises OutputError if that can't be written."""
    try:
        with write_atomically(output / STATE / _JOB) as file:
            file.write(json.dumps(note, indent=1).encode())
    except OSError as error:
        raise OutputError(f"output folder {output} can't be written: {error.strerror or error}") from error


def sweep_temporaries(output: Path) -> None:
    """Remove what a killed run had begun to write (`workers.atomic` knows the names)."""
    remove_temporary_folders(output)
    for folder, subfolders, names in os.walk(output):
        if Path(folder) == output:
            subfolders[:] = [name for name in subfolders if name in (STATE, *FOLDERS)]
        for name in names:
            if is_temporary_name(name):
                (Path(folder) / name).unlink(missing_ok=True)


def prove_writable(output: Path) -> None:
    """Raise OutputError if nothing can be written into an output folder (any more)."""
    probe = output / STATE / f"probe.{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)  # an empty file fits on a full disk
    except OSError as error:
        raise OutputError(
            f"output folder {output} can't be written: {error.strerror or error}. Make room or choose another --out; "
            "the same command continues"
        ) from error
    finally:
        probe.unlink(missing_ok=True)
