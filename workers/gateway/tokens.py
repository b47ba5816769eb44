"""Bearer tokens (RFC 6750): made here, shown once, kept as SHA-256, each with a name and scopes.

A token has 256 random bits, so a plain hash is enough: there is nothing to guess that a slow one would protect.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, Field, ValidationError

from pipelines.errors import ParameterError
from workers.atomic import write_atomically

Scope: TypeAlias = Literal["submit", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "pixelmill_"


class Token(BaseModel):
    """A token as it is kept.

    id: names its jobs. sha256: of the token itself, which is kept nowhere. created, expires: seconds since 1970;
    expires None: never.
    """

    id: str
    name: str = Field(min_length=1, max_length=80)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...]
    created: int
    expires: int | None = None

    @property
    def has_expired(self) -> bool:
        """Whether it is worth nothing any more."""
        return self.expires is not None and time.time() >= self.expires


class _Kept(BaseModel):
    tokens: list[Token] = []


class Tokens:
    """The tokens of a gateway, in a file that may be changed while it runs."""

    def __init__(self, path: Path) -> None:
        """Take the file's place; it is read when somebody asks, and again when it has changed."""
        self._path = path
        self._read: tuple[int, int] | None = None
        self._by_hash: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Every token. Raises ParameterError for a file that can't be read or is none of ours."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._read, self._by_hash = None, {}
            return []
        if (stat.st_mtime_ns, stat.st_size) != self._read:
            try:
                kept = _Kept.model_validate(json.loads(self._path.read_bytes()))
            except (OSError, ValueError, ValidationError) as error:
                raise ParameterError(f"the file of tokens {self._path} can't be read: {error}") from error
            self._by_hash = {token.sha256: token for token in kept.tokens}
            self._read = (stat.st_mtime_ns, stat.st_size)
        return list(self._by_hash.values())

    def find(self, secret: str) -> Token | None:
        """The token somebody shows, None if there is no such."""
        self.all()
        return self._by_hash.get(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest())

    def add(self, name: str, scopes: Sequence[Scope], expires: int | None = None) -> str:
        """Make a token and give it; it can't be read again. Raises ParameterError if the name is taken.

        expires: seconds since 1970 from which it is refused; None: never.
        """
        tokens = self.all()
        if any(token.name == name for token in tokens):
            raise ParameterError(f"there is a token {name!r} already: remove it first, or choose another name")
        secret = _PREFIX + secrets.token_urlsafe(32)
        made = Token(
            id=secrets.token_hex(8),
            name=name,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=tuple(scopes),
            created=int(time.time()),
            expires=expires,
        )
        self._write([*tokens, made])
        return secret

    def remove(self, name: str) -> None:
        """Remove a token; it is refused from now on. Raises ParameterError if there is none of this name."""
        tokens = self.all()
        left = [token for token in tokens if token.name != name]
        if len(left) == len(tokens):
            known = ", ".join(token.name for token in tokens) or "none"
            raise ParameterError(f"there is no token {name!r}: there are {known}")
        self._write(left)

    def _write(self, tokens: list[Token]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with write_atomically(self._path) as file:
            file.write(_Kept(tokens=tokens).model_dump_json(indent=2).encode())
        self._path.chmod(0o600)
        self._read = None
