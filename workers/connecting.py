"""One call for both ways to a service: `connect(url)` gives the client that speaks what the URL says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.client import Client

if TYPE_CHECKING:
    from workers.remote import RemoteClient


def connect(url: str | None = None, token: str | None = None) -> Client | RemoteClient:
    """Give a client: for a broker's URL one that speaks to the queue, for http(s):// one that speaks to a gateway.

    Both have the same verbs, so a program moves by changing the URL; both are contexts, closed when they are left.
    url: default: PIXELMILL_BROKER.
    token: for a gateway; default: PIXELMILL_TOKEN.
    Raises BrokerError if there is no broker.
    """
    if url is not None and url.startswith(("http://", "https://")):
        from workers.remote import RemoteClient

        return RemoteClient(url, token)
    return Client(url)
