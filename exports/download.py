"""Download a file over http(s): resumed where it broke off, verified, and only then put in its place.

    download("https://…/resnet50.pth", folder / "resnet50.pth", sha256)

What has come so far lies in `NAME.part` (HTTP Range, RFC 9110 section 14); what stands under its own name is whole.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from exports.errors import WeightsError

_CHUNK = 1 << 20  # bytes
_TIMEOUT_S = 30.0
_ATTEMPTS = 3  # a cut connection is resumed this often before it is an error
_QUIET_S = 2.0  # a download shorter than this shows no progress bar
_HEX_DIGITS = 64


class NotServedError(WeightsError):
    """An address that does not give the file; another source may."""


def download(address: str, target: Path, sha256: str | None) -> Path:
    """Download a file, resuming an earlier attempt, verify it and put it in place.

    address: http or https.
    target: the file to write; `target.part` beside it holds what has come so far.
    sha256: all hex digits or a prefix; None accepts what comes.
    Raises WeightsError for a wrong checksum (the partial file is removed) or an unwritable target, and its subclass
    `NotServedError` if the address does not give the file.
    """
    if not is_address(address):
        raise WeightsError(f"{address!r} is no http(s) address: weights are fetched from nowhere else")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if target.is_file() and matches(sha256_of(target), sha256):
                part.unlink(missing_ok=True)
                return target  # another process fetched it while this one waited
            _transfer_patiently(address, part)
            verify(part, sha256, f"what {address} gave", remove=True)
            part.replace(target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise NotServedError(_reason(error)) from error
    except OSError as error:
        raise WeightsError(f"weights can't be written to {target}: {error.strerror or error}") from error
    return target


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_address(place: str) -> bool:
    """Whether a place is an http(s) address."""
    return place.startswith(("http://", "https://"))


def matches(found: str, wanted: str | None) -> bool:
    """Whether a sha256 is the wanted one, or begins with it; anything is where none is wanted."""
    return wanted is None or found.startswith(wanted.lower())


def verify(path: Path, sha256: str | None, what: str, *, remove: bool = False) -> None:
    """Compare a file with its sha256; `remove` deletes one that differs. Raises WeightsError; `what` is its subject."""
    if sha256 is None:
        return
    found = sha256_of(path)
    if not matches(found, sha256):
        if remove:
            path.unlink(missing_ok=True)
        full = "" if len(sha256) == _HEX_DIGITS else "…"
        raise WeightsError(
            f"{what} {path.name.removesuffix('.part')} has the sha256 {found[: max(12, len(sha256))]}…, "
            f"expected {sha256}{full}: it is damaged or another file, and was not used"
        )


class _CutError(ConnectionError):
    """The connection ended before the whole file had come."""


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold the partial file, so that two processes never write into one; the second waits for the first.

    An empty partial file is not left behind. Where files can't be locked (Windows), the checksum alone protects.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        with part.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            # the one waited for has renamed or removed the file that is held now: take the new one
            try:
                if os.fstat(held.fileno()).st_ino != part.stat().st_ino:
                    continue
            except FileNotFoundError:
                continue
            try:
                yield
            finally:
                # a new one may already stand here, of another who takes a new one again if this one goes
                with suppress(FileNotFoundError):
                    if part.stat().st_size == 0:
                        part.unlink()
            return


def _transfer_patiently(address: str, part: Path) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _transfer(address, part)
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) or attempt == _ATTEMPTS or _is_local(error):
                raise
        else:
            return


def _transfer(address: str, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "pixelmill"})  # noqa: S310  # http(s) was checked
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:  # 416: nothing after `have`, so the file is whole or not the one we began
            raise
        return
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = (have if resumed else 0) + int(length) if length else None
        done = have if resumed else 0
        with part.open("ab" if resumed else "wb") as file, _progress(part.stem, total) as advance:
            advance(done)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _CutError(f"the connection ended after {done} of {total} bytes")


def _is_local(error: Exception) -> bool:
    """Whether the disk, not the network, failed: trying again would not help."""
    return isinstance(error, OSError) and not isinstance(error, urllib.error.URLError | ConnectionError | TimeoutError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Any]:
    """A bar on stderr once a transfer has taken `_QUIET_S`; gives a function that counts bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn())  # fmt: skip
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(name, total=total)
    began, shown = time.monotonic(), False

    def advance(count: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - began > _QUIET_S:
            bar.start()
            shown = True
        bar.update(task, advance=count)

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
