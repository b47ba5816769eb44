"""Webhooks: what is told when a job has ended, how it is signed, and how a receiver checks that.

Signed as the Standard Webhooks specification 1.0 says (standardwebhooks.com), so that receivers can use its libraries:
three headers, and HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from workers.addresses import Networks, connection, is_allowed, split_url
from workers.errors import AddressError

if TYPE_CHECKING:
    from workers.settings import Settings

TOLERANCE_SECONDS = 300.0  # a message that is older, or from the future, is not taken: somebody may have kept it
_PREFIX = "whsec_"


def check_webhook(url: str, config: Settings) -> None:
    """Refuse a webhook's URL that can't be told anything; an empty one is none.

    Only what the URL itself says: its host is resolved when the message is sent. Raises AddressError.
    """
    if not url:
        return
    host = split_url(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return
    if not is_allowed(address, config.networks):
        raise AddressError(
            f"webhook to the private address {host} is refused: an operator may allow its network with "
            "PIXELMILL_PRIVATE_NETWORKS"
        )


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The signature of a message: `v1,` and base64 of HMAC-SHA256.

    secret: as it is, or `whsec_` and base64. timestamp: seconds since 1970. Raises ValueError for bad base64.
    """
    digest = hmac.new(_key(secret), f"{id}.{timestamp}.".encode() + body, sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> None:
    """For receivers: raise ValueError unless a message was signed with the secret in the last five minutes.

    headers: of the request, whatever their case. body: its bytes as they came.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split()
    except (KeyError, ValueError) as error:
        raise ValueError(f"no webhook of ours: {error} is missing or no number") from error
    if abs((time.time() if now is None else now) - timestamp) > TOLERANCE_SECONDS:
        raise ValueError("the message is too old, or its time lies in the future")
    wanted = sign(secret, id, timestamp, body).encode()
    if not any(hmac.compare_digest(wanted, one.encode()) for one in signatures):
        raise ValueError("the signature is another one")


def message_for(status: Mapping[str, Any]) -> bytes:
    """The body: what has ended and how, as `pixelmill status --json` says it."""
    data = {key: value for key, value in status.items() if key not in ("webhook", "deliveries", "trouble", "at_work")}
    return json.dumps({"type": "job.ended", "timestamp": status["ended"], "data": data}).encode()


def post(url: str, secret: str, id: str, body: bytes, networks: Networks, seconds: float) -> int:
    """Send a message; give the status of the answer. A redirect is an answer, and not followed.

    seconds: for all of it. Raises AddressError, OSError or http.client.HTTPException.
    """
    parts, timestamp = split_url(url), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "pixelmill",
        "Connection": "close",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, id, timestamp, body),
    }
    with connection(parts, networks, seconds) as link:
        link.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        return link.getresponse().status  # its body is not read: nobody knows how long it is


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret that begins with whsec_ goes on in base64") from error
