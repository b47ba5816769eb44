"""The disk the soak's results go to: a small one of its own where this user may mount one, filled up now and then."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

_MB = 64
_PIECE = 1 << 20


class Disk:
    """A tmpfs of 64 MB on a folder; the plain folder where nobody may mount (`is_small` is False then)."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and mount the disk on it."""
        self.folder = folder
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={_MB}m", "pixelmill-soak", str(folder)]
        self.is_small = shutil.which("mount") is not None and _does(words)
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (_PIECE, 4096):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size):
                        pass

    def clear(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def remove(self, keep: Path) -> None:
        """Take the disk away; what is on it goes to the folder `keep`, if there is anything."""
        self.clear()
        if any(self.folder.iterdir()):
            shutil.copytree(self.folder, keep)
        if self.is_small:
            _does(["umount", str(self.folder)]) or _does(["umount", "--lazy", str(self.folder)])


def _does(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
