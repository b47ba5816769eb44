"""Fetch weights: found or downloaded, verified by checksum, kept in the user's cache.

`fetch(source)` looks, in this order, in

1. the mirror, `PIXELMILL_WEIGHTS`: a folder, whose file is used where it lies, or an http(s) address,
2. the user's cache (`pipelines.folders.weights_folder`),
3. an installed Python package that carries the file, where the source names one,
4. the official address, unless `PIXELMILL_OFFLINE=1`.

Downloading is `exports.download`'s job, reading what was fetched `exports.statedict`'s.

    path = fetch(find("resnet50").facts().weights)
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from exports.download import NotServedError, download, is_address, matches, sha256_of, verify
from exports.errors import WeightsError
from exports.folders import mirror, offline
from pipelines.folders import weights_folder


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
    if place and not is_address(place):
        file = Path(place).expanduser() / source.file
        if file.is_file():
            verify(file, source.sha256, f"the file of the mirror {place}")
            return file
    cached = weights_folder() / source.file
    if cached.is_file() and not (place and is_address(place)):
        verify(cached, source.sha256, "the file of the cache; delete it to fetch it again:")
        return cached
    failures: list[str] = []
    if place and is_address(place):
        if cached.is_file() and matches(sha256_of(cached), source.sha256):
            return cached
        if not offline():
            address = f"{place.rstrip('/')}/{source.file}"
            try:
                return download(address, cached, source.sha256)
            except NotServedError as error:
                failures.append(f"{address}: {error}")
    if source.bundled and (inside := source.bundled.locate()):
        verify(inside, source.bundled.sha256, f"the file of the package {source.bundled.package}")
        return inside
    if source.url and not offline():
        try:
            return download(source.url, cached, source.sha256)
        except NotServedError as error:
            failures.append(f"{source.url}: {error}")
    raise WeightsError(_nowhere(source, failures))


def _nowhere(source: WeightSource, failures: list[str]) -> str:
    """One sentence: which file, from where, and where to put it."""
    why = "PIXELMILL_OFFLINE forbids the network" if offline() else "; ".join(failures) or "no address serves it"
    place = mirror()
    folder = weights_folder() if not place or is_address(place) else Path(place)
    ways = [f"place it in {folder}"]
    if source.url:
        ways[0] = f"download it from {source.url} and {ways[0]}"
    if source.bundled:
        ways.append(f"install the package that carries it ({source.bundled.install})")
    return f"weights {source.file!r} are not on this machine and can't be fetched ({why}): {', or '.join(ways)}"
