"""Who asks: a token's owner, or, on loopback without tokens, whoever sits at the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from workers.gateway.config import GatewayConfig
from workers.gateway.problems import Problem
from workers.gateway.tokens import SCOPES, Scope, Tokens

_MOST_REMEMBERED = 10_000
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may ask. id: names what is theirs. scopes: what they may do."""

    id: str
    scopes: tuple[Scope, ...]

    def sees(self, owner: str) -> bool:
        """Whether a job of this owner exists for them."""
        return owner == self.id or "admin" in self.scopes


class Rates:
    """Token buckets: how fast each caller may ask."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `rate` requests a second, `burst` at once."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # caller → (requests left, when that was)

    def take(self, caller: str) -> float:
        """Take one request; gives the seconds to wait if there is none left, else 0."""
        now = self._clock()
        if len(self._left) > _MOST_REMEMBERED:
            self._left.clear()
        left, since = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        if left < 1:
            self._left[caller] = (left, now)
            return (1 - left) / self._rate
        self._left[caller] = (left - 1, now)
        return 0.0


class Doorkeeper:
    """Decides who may do what."""

    def __init__(self, config: GatewayConfig) -> None:
        """Take the gateway's settings."""
        self._config = config
        self._tokens = Tokens(config.tokens_file)
        self._rates = Rates(config.rate, 10 * config.rate)

    def admit(self, request: Request, scope: Scope) -> Caller:
        """Give who asks. Raises Problem: 401 without a token, 403 without the scope, 429 if they ask too fast."""
        caller = self._caller(request)
        wait = self._rates.take(caller.id)
        if wait > 0:
            raise Problem(
                429, "too_many_requests", f"no more than {self._config.rate:g} requests a second: wait {wait:.1f} s",
                {"Retry-After": str(max(1, round(wait)))},
            )  # fmt: skip
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise Problem(403, "scope_missing", f"this token may {', '.join(caller.scopes)}, not {scope}")
        return caller

    def _caller(self, request: Request) -> Caller:
        if not self._config.tokens:
            self._refuse_foreign_pages(request)
            return Caller(LOCAL, SCOPES)
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        token = self._tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            raise Problem(
                401, "token_missing", "show a token: Authorization: Bearer … (`pixelmill tokens add NAME` makes one)",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if token.has_expired:
            raise Problem(
                401, "token_expired", f"the token {token.name!r} has expired: `pixelmill tokens add` makes another",
                {"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )  # fmt: skip
        return Caller(token.id, token.scopes)

    def _refuse_foreign_pages(self, request: Request) -> None:
        """Without tokens, any page open in a browser of this machine could ask: only our own page may."""
        origin = request.headers.get("origin")
        if origin is None or origin in self._config.origins:
            return
        if urlsplit(origin).netloc != request.headers.get("host"):
            raise Problem(403, "foreign_origin", f"a page of {origin} may not ask this gateway")
