"""Images named by URIs: fetched by the client, bounded, and stored beside the results under a name like their own.

    DST/.pixelmill/inputs/uris/https/images.example.org/cats/1.jpg

Nothing is fetched unless an operator has allowed its beginning (PIXELMILL_URIS). `http(s)` goes through our own guarded
connections: fsspec's follows redirects and resolves names by itself, so neither a private address nor a way around what
is allowed could be refused. Everything else (`s3://`, `gs://`, …) goes through fsspec, with the driver of its scheme.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from workers.addresses import connection, split_url
from workers.errors import SourceError
from workers.folder import IMAGE_SUFFIXES
from workers.settings import Settings, without_secrets

if TYPE_CHECKING:
    from workers.inputs import Uploads

FETCH_SECONDS = 60.0  # for one image over http(s)
_HANDS = 8
_LONGEST_PART = 120  # characters of a folder's or file's name; a file system may allow 255 bytes
_HTTP = ("http", "https")
_LOCAL = ("file", "local")

Fetch = Callable[[], bytes]


def fetch_all(uris: list[str], uploads: Uploads, config: Settings) -> list[str]:
    """Fetch images, and give the paths they are stored at.

    A URI may end in `/` or have `*`, `?` or `[` in its path to mean many, where its scheme can list them (not http).
    One of many that is not there has no file at its path, and so becomes a failed result.
    Raises SourceError or AddressError for one that is not allowed or too large, and if the only one is not there.
    """
    found = [(name, fetch) for uri in uris for name, fetch in _meant(uri, config)]

    def store(entry: tuple[str, Fetch]) -> str:
        name, fetch = entry
        try:
            data = fetch()
        except (OSError, http.client.HTTPException) as error:
            if len(found) == 1:
                why = "it is not there" if isinstance(error, FileNotFoundError) else error or type(error).__name__
                raise SourceError(f"{name.replace('/', '://', 1)} can't be fetched: {why}") from error
            return uploads.forget(f"uris/{name}")
        return uploads.keep_as(f"uris/{name}", data)

    with ThreadPoolExecutor(_HANDS) as pool:
        return list(pool.map(store, found))


def check_allowed(uri: str, config: Settings) -> SplitResult:
    """Refuse a URI whose beginning no operator has allowed, or that may mean another one. Raises SourceError."""
    shown = without_secrets(uri)
    if "::" in uri.partition("[")[0] or "\\" in uri or any(ord(letter) < 32 for letter in uri):
        raise SourceError(f"URI {shown} is refused: it is a chain of several, or has characters no URI has")
    parts = split_url(uri) if urlsplit(uri).scheme in _HTTP else urlsplit(uri)
    if any(part in (".", "..") for part in re.split(r"[/\\]", unquote(unquote(parts.path)))):
        raise SourceError(f"URI {shown} is refused: it leads upwards")
    if parts.scheme in _LOCAL:
        raise SourceError(f"URI {shown} is refused: give the path itself")
    if not any(_begins(parts, urlsplit(allowed)) for allowed in config.allowed_uris):
        allowed = ", ".join(config.allowed_uris) or "none is"
        raise SourceError(
            f"URI {shown} is not allowed ({allowed}): an operator may allow its beginning with PIXELMILL_URIS, e.g. "
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
        )
    return parts


def _begins(uri: SplitResult, allowed: SplitResult) -> bool:
    if uri.scheme != allowed.scheme or (allowed.netloc and uri.netloc.lower() != allowed.netloc.lower()):
        return False
    folder = allowed.path if allowed.path.endswith("/") else f"{allowed.path}/"
    return uri.path == allowed.path or (uri.path or "/").startswith(folder)


def _meant(uri: str, config: Settings) -> Iterator[tuple[str, Fetch]]:
    """The images a URI means: the name each is stored under, and what fetches it."""
    parts = check_allowed(uri, config)
    if parts.scheme in _HTTP:
        yield _name(parts), lambda: _get(parts, config)
        return
    system, path = _open_system(uri)
    most = config.max_bytes
    for one in _listed(system, path, uri):
        name = _name(urlsplit(str(system.unstrip_protocol(one)).partition("?")[0]))
        yield name, lambda one=one: _read(system, one, most)  # type: ignore[misc]


def _open_system(uri: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(uri)
    except ImportError as error:
        raise SourceError(
            f"{without_secrets(uri)} needs a driver ({error}): pip install 'pixelmill[uris]', or the one for its scheme"
        ) from error
    except ValueError as error:
        raise SourceError(f"{without_secrets(uri)} is not understood: {error}") from error
    return system, path


def _listed(system: Any, path: str, uri: str) -> list[str]:
    """One image, or all that a folder or a pattern means."""
    try:
        if any(letter in path for letter in "*?["):
            found = [one for one in system.glob(path) if not system.isdir(one)]
        elif uri.endswith("/") or system.isdir(path):
            found = [one for one in system.find(path) if PurePosixPath(one).suffix.lower() in IMAGE_SUFFIXES]
        else:
            return [path]
    except Exception as error:
        # every driver has errors of its own
        raise SourceError(f"{without_secrets(uri)} can't be listed: {error or type(error).__name__}") from error
    if not found:
        raise SourceError(f"{without_secrets(uri)} names no image")
    return sorted(found)


def _read(system: Any, path: str, most: int) -> bytes:
    try:
        with system.open(path, "rb") as file:
            data: bytes = file.read(most + 1)
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
    return _bounded(data, path, most)


def _get(parts: SplitResult, config: Settings) -> bytes:
    shown = without_secrets(parts.geturl())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with connection(parts, config.networks, FETCH_SECONDS) as link:
        link.request("GET", target, headers={"User-Agent": "pixelmill", "Accept": "image/*", "Connection": "close"})
        answer = link.getresponse()
        if 300 <= answer.status < 400:
            raise OSError(f"{shown} is answered with a redirect ({answer.status}), which is not followed")
        if answer.status != http.client.OK:
            raise OSError(f"{shown} is answered with {answer.status}")
        if answer.length is not None and answer.length > config.max_bytes:
            raise _too_large(shown, config.max_bytes)
        promised = answer.length
        data = _bounded(answer.read(config.max_bytes + 1), shown, config.max_bytes)
        if promised is not None and len(data) < promised:
            raise OSError(f"{shown} broke off after {len(data):,} of {promised:,} bytes")
        return data


def _bounded(data: bytes, name: str, most: int) -> bytes:
    if len(data) > most:
        raise _too_large(name, most)
    return data


def _too_large(name: str, most: int) -> SourceError:
    return SourceError(f"{name} is larger than {most:,} bytes (PIXELMILL_MAX_BYTES)")


def _name(parts: SplitResult) -> str:
    """Where an image is stored: its URI as a relative path, a query as a few letters before the suffix."""
    names = [_short(unquote(part)) for part in parts.path.split("/") if part] or ["index"]
    if parts.query:
        last = PurePosixPath(names[-1])
        names[-1] = f"{last.stem}~{_digest(parts.query)}{last.suffix}"
    host = _short(parts.netloc.rpartition("@")[2].lower() or "_")
    return "/".join([parts.scheme, host, *names])


def _short(part: str) -> str:
    clean = re.sub(r"[/\\\x00-\x1f]", "_", part)
    clean = f"_{clean}" if clean in (".", "..") or clean.startswith(".") else clean
    if clean == part and len(clean) <= _LONGEST_PART:
        return clean
    stem, suffix = PurePosixPath(clean).stem, PurePosixPath(clean).suffix[:10]
    return f"{stem[: _LONGEST_PART - 20]}~{_digest(part)}{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
