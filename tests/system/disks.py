"""Small disks that are really full, read-only or away: mounted where this user may mount, else as near as can be."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.system.processes import until

TROUBLES = ("full", "read-only", "away")


class Disk:
    """A disk of a few MB at `path`, and what can befall it."""

    def __init__(self, path: Path, beneath: Path) -> None:
        self.path, self._beneath = path, beneath
        self._ballast = path / "ballast"

    def hit(self, trouble: str) -> None:
        """Let it be in trouble, as one of TROUBLES."""
        {"full": self._fill, "read-only": self._forbid, "away": self._detach}[trouble]()

    def heal(self, trouble: str) -> None:
        """Put that right."""
        {"full": self._empty, "read-only": self._allow, "away": self._attach}[trouble]()

    def _fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass

    def _empty(self) -> None:
        self._ballast.unlink()

    def _forbid(self) -> None:
        until(lambda: _mount("-o", "remount,ro", self.path), "nobody has a file open for writing")

    def _allow(self) -> None:
        assert _mount("-o", "remount,rw", self.path)

    def _detach(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def _attach(self) -> None:
        assert list(self.path.iterdir()) == [], "somebody wrote into the place where the disk was"
        assert _mount("--bind", self._beneath, self.path)


class Folder(Disk):
    """Stands for a disk where mounting is not allowed: its permission can be taken, or the folder itself.

    Full is what a quota makes of it: no file of the processes that this one started may grow.
    """

    def _fill(self) -> None:
        self._limit(0)

    def _empty(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for process in psutil.Process().children(recursive=True):
            if "workers.cli" in process.cmdline():
                process.rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _forbid(self) -> None:
        for folder, _, _ in os.walk(self.path):
            Path(folder).chmod(0o555)

    def _allow(self) -> None:
        for folder, _, _ in os.walk(self.path):
            Path(folder).chmod(0o755)

    def _detach(self) -> None:
        self.path.rename(self._beneath)
        self.path.mkdir()

    def _attach(self) -> None:
        self.path.rmdir()
        self._beneath.rename(self.path)


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "24m") -> Iterator[Disk]:
    """A disk in `folder`, gone with everything on it at the end."""
    beneath, path = folder / "beneath", folder / "disk"
    path.mkdir(parents=True)
    if os.geteuid() != 0 or not (beneath.mkdir() or _mount("-t", "tmpfs", "-o", f"size={size}", "pixelmill", beneath)):
        yield Folder(path, folder / "elsewhere")
        return
    try:
        assert _mount("--bind", beneath, path)
        yield Disk(path, beneath)
    finally:
        for mounted in (path, beneath):
            subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)


def _mount(*words: str | Path) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0
