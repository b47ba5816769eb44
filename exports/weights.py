"""Fetch weights: found or downloaded, verified by checksum, kept in the user's cache.

`fetch(source)` looks, in this order, in

1. the mirror, `PIXELMILL_WEIGHTS`: a folder, whose file is used where it lies, or an http(s) address,
2. the user's cache (`exports.folders.weights_folder`),
3. an installed Python package that carries the file, where the source names one,
4. the official address, unless `PIXELMILL_OFFLINE=1`.

A download goes to `NAME.part`, is resumed where it broke off (HTTP Range, RFC 9110 section 14), verified, and only then
renamed: what stands in the cache under its own name is whole. Reading what was fetched is `exports.statedict`'s job.

    path = fetch(find("resnet50").facts().weights)
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from exports.errors import WeightsError
from exports.folders import mirror, offline, weights_folder

_CHUNK = 1 << 20  # bytes
_TIMEOUT_S = 30.0
_ATTEMPTS = 3  # a cut connection is resumed this often before it is an error
_QUIET_S = 2.0  # a download shorter than this shows no progress bar
_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Bundled:
    """A file inside an installed Python package.

    package: the package to import (it is only located, never imported).
    path: the file's path inside it.
    sha256: all 64 hex digits.
    install: what to type to get it.
    in_order: its tensors carry other names than the network's and are to be matched one by one, in order.
    """

    package: str
    path: str
    sha256: str
    install: str
    in_order: bool = False

    def locate(self) -> Path | None:
        """The file, if the package is installed."""
        try:
            spec = find_spec(self.package)
        except (ImportError, ValueError):
            return None
        for folder in (spec.submodule_search_locations if spec else None) or ():
            if (file := Path(folder) / self.path).is_file():
                return file
        return None


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Where official weights come from.

    file: the name the file has in a mirror and in the cache.
    url: the official address; None if no address serves them.
    sha256: hex digits, all 64 or the prefix the library's file name carries; None if nobody published one.
    licence: of the weights. training_data: what they were trained on.
    pickled: the file is a pickle of whole objects and opens only with `trust` (Ultralytics).
    """

    file: str
    url: str | None
    sha256: str | None
    licence: str
    training_data: str
    bundled: Bundled | None = None
    pickled: bool = False


def fetch(source: WeightSource) -> Path:
    """Give the path of a verified file of weights, downloading it if need be.

    Raises WeightsError: not found and no network allowed or reachable (says where to put the file), a wrong checksum,
    a target that can't be written.
    """
    place = mirror()
    if place and not _is_address(place):
        file = Path(place).expanduser() / source.file
        if file.is_file():
            _verify(file, source.sha256, f"the file of the mirror {place}")
            return file
    cached = weights_folder() / source.file
    if cached.is_file() and not (place and _is_address(place)):
        _verify(cached, source.sha256, "the file of the cache; delete it to fetch it again:")
        return cached
    failures: list[str] = []
    if place and _is_address(place):
        if cached.is_file() and _matches(sha256_of(cached), source.sha256):
            return cached
        if not offline():
            address = f"{place.rstrip('/')}/{source.file}"
            try:
                return download(address, cached, source.sha256)
            except _NotServedError as error:
                failures.append(f"{address}: {error}")
    if source.bundled and (inside := source.bundled.locate()):
        _verify(inside, source.bundled.sha256, f"the file of the package {source.bundled.package}")
        return inside
    if source.url and not offline():
        try:
            return download(source.url, cached, source.sha256)
        except _NotServedError as error:
            failures.append(f"{source.url}: {error}")
    raise WeightsError(_nowhere(source, failures))


def download(address: str, target: Path, sha256: str | None) -> Path:
    """Download a file, resuming an earlier attempt, verify it and put it in place.

    address: http or https.
    target: the file to write; `target.part` beside it holds what has come so far.
    sha256: all hex digits or a prefix; None accepts what comes.
    Raises WeightsError for a wrong checksum (the partial file is removed) or an unwritable target, and its subclass
    `_NotServedError` if the address does not give the file.
    """
    if not _is_address(address):
        raise WeightsError(f"{address!r} is no http(s) address: weights are fetched from nowhere else")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if target.is_file() and _matches(sha256_of(target), sha256):
                part.unlink(missing_ok=True)
                return target  # another process fetched it while this one waited
            _transfer_patiently(address, part)
            _verify(part, sha256, f"what {address} gave", remove=True)
            part.replace(target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _NotServedError(_reason(error)) from error
    except OSError as error:
        raise WeightsError(f"weights can't be written to {target}: {error.strerror or error}") from error
    return target


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _NotServedError(WeightsError):
    """An address that does not give the file; another source may."""


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
            if not part.exists() or os.fstat(held.fileno()).st_ino != part.stat().st_ino:
                continue
            try:
                yield
            finally:
                if part.exists() and part.stat().st_size == 0:
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


def _is_address(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _matches(found: str, wanted: str | None) -> bool:
    return wanted is None or found.startswith(wanted.lower())


def _verify(path: Path, sha256: str | None, what: str, *, remove: bool = False) -> None:
    if sha256 is None:
        return
    found = sha256_of(path)
    if not _matches(found, sha256):
        if remove:
            path.unlink(missing_ok=True)
        full = "" if len(sha256) == _HEX_DIGITS else "…"
        raise WeightsError(
            f"{what} {path.name.removesuffix('.part')} has the sha256 {found[: max(12, len(sha256))]}…, "
            f"expected {sha256}{full}: it is damaged or another file, and was not used"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


def _nowhere(source: WeightSource, failures: list[str]) -> str:
    """One sentence: which file, from where, and where to put it."""
    why = "PIXELMILL_OFFLINE forbids the network" if offline() else "; ".join(failures) or "no address serves it"
    place = mirror()
    folder = weights_folder() if not place or _is_address(place) else Path(place)
    ways = [f"place it in {folder}"]
    if source.url:
        ways[0] = f"download it from {source.url} and {ways[0]}"
    if source.bundled:
        ways.append(f"install the package that carries it ({source.bundled.install})")
    return f"weights {source.file!r} are not on this machine and can't be fetched ({why}): {', or '.join(ways)}"


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
