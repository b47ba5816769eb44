"""Connections to hosts that others name: resolved first, checked, and made to the very address that was checked.

A name may mean a private address (a metadata service, a database beside us), or mean another one at the next look. So
all of a name's addresses must be allowed, the connection goes to one of these, and no redirect is followed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from workers.errors import AddressError
from workers.settings import without_secrets

Networks = Sequence[IPv4Network | IPv6Network]
Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_LONGEST_URL = 2048


def split_url(url: str) -> SplitResult:
    """Understand an http(s) URL. Raises AddressError if it is none, or carries a user or password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{without_secrets(url)} is no URL: {error}") from error
    shown = without_secrets(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > _LONGEST_URL:
        raise AddressError(f"{shown} is no http(s) URL of up to {_LONGEST_URL} characters with a host")
    if parts.username is not None or parts.password is not None:
        raise AddressError(f"{shown} carries a user or password: they would be stored with the job")
    if any(ord(letter) <= 32 or ord(letter) >= 127 for letter in url) or port == 0:
        raise AddressError(f"{shown} has characters or a port that no URL may have: escape them")
    return parts


def is_allowed(address: Address, networks: Networks) -> bool:
    """Whether an address is public, or in one of the networks; an IPv4 address inside an IPv6 one must be, too."""
    if any(address in network for network in networks):
        return True
    inner = _inside(address)
    if inner is not None:
        return is_allowed(inner, networks)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inside(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else None)


def resolve(host: str, port: int, networks: Networks) -> list[str]:
    """Give a host's addresses. Raises AddressError if it has none, or one that is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(f"{host} has no address: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if "%" in text or not is_allowed(ip_address(text), networks):
            raise AddressError(
                f"{host} has the private address {text}: an operator may allow its network with "
                "PIXELMILL_PRIVATE_NETWORKS"
            )
    return addresses


@contextmanager
def connection(parts: SplitResult, networks: Networks, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to an allowed address of a URL's host.

    seconds: for all that is done with the connection; then it is cut, however slowly somebody answers.
    Raises AddressError or OSError.
    """
    assert parts.hostname is not None  # noqa: S101 - `split_url` has looked
    context = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    link = _Pinned(parts.hostname, port, resolve(parts.hostname, port, networks), seconds, context)
    timer = Timer(seconds, link.cut)
    timer.daemon = True
    timer.start()
    try:
        link.connect()
        yield link
        if link.was_cut:  # which http.client takes for the end of an answer
            raise TimeoutError(f"no whole answer within {seconds:g} s")
    finally:
        timer.cancel()
        link.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to one of the given addresses, whatever its host's name means by now."""

    def __init__(
        self, host: str, port: int, addresses: Sequence[str], timeout: float, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self._addresses, self._context = addresses, context
        self.was_cut = False
        self.default_port = 443 if context else 80  # what the Host header need not name

    def connect(self) -> None:
        """Try the addresses in turn. Raises OSError if none answers."""
        trouble: OSError | None = None
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                trouble = error
                continue
            if self._context is not None:
                self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
            return
        raise trouble or OSError("no address")

    def cut(self) -> None:
        """End whatever goes on, from another thread."""
        self.was_cut = True
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
