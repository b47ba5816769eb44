"""The shape of our tasks' messages, judged in a worker's parent before Celery reserves a place for one.

Celery trusts what it finds: a message with other arguments is lost with a line in the log, and one whose `callbacks` or
`chain` are not what it expects raises where nobody gives its place back, so that the worker takes no other message ever
again. Our clients send one argument and nothing for Celery to do before, after or instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kombu.exceptions import KombuError

# what asks Celery to wait, to call something else, or to stand for another; Celery reads it in headers and in the body
_UNUSED = (
    "args", "callbacks", "chain", "chord", "errbacks", "eta", "group", "kwargs", "link", "link_error",
    "reply_to", "shadow", "stamped_headers", "stamps",
)  # fmt: skip
_OURS = "pixelmill."
_LONGEST_ID = 255  # characters; Celery's own have 36


def trouble_with_shape(headers: object, decode: Callable[[], object]) -> str | None:
    """Say why this is no message of a task of ours; None if it is one.

    decode: gives its body, read.
    """
    if not isinstance(headers, Mapping) or not headers.get("task"):
        return "it names no task"
    if not str(headers["task"]).startswith(_OURS):  # Celery has tasks of its own that call others
        return f"there is no task {str(headers['task'])[:200]!r} here"
    try:
        payload = decode()
    except (KombuError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        return f"its body can't be read: {str(error)[:200]}"
    return _trouble_with_headers(headers) or _trouble_with_body(payload)


def _trouble_with_body(payload: object) -> str | None:
    if not isinstance(payload, list) or len(payload) != 3:
        return "its body is not (arguments, named arguments, what follows)"
    arguments, named, follows = payload
    if not isinstance(arguments, list) or len(arguments) != 1 or named not in ({}, None):
        return "a task takes one argument"
    if not isinstance(follows, dict) or any(follows.values()):
        return "nothing may follow a task"
    return None


def _trouble_with_headers(headers: Mapping[str, Any]) -> str | None:
    asked = next((name for name in _UNUSED if headers.get(name)), None)
    if asked is not None:
        return f"its header {asked!r} is not empty"
    name = headers.get("id")
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_ID:
        return "it has no id"
    limits, expires = headers.get("timelimit"), headers.get("expires")
    if limits is not None and not _are_limits(limits):
        return "its time limits are none"
    if expires is not None and not isinstance(expires, str):
        return "its end of life is no time"
    if headers.get("retries") not in (0, None) or isinstance(headers.get("retries"), bool):
        return "it was tried by Celery"
    return None


def _are_limits(limits: object) -> bool:
    """Two that are each None or some seconds: a message that a worker gives out again has the worker's own limit."""
    return (
        isinstance(limits, list | tuple)
        and len(limits) == 2
        and all(one is None or (type(one) in (int, float) and 0 < one < math.inf) for one in limits)
    )
