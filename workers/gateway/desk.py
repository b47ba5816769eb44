"""What every route needs: the client, the records, the doorkeeper, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from workers.client import Client
from workers.gateway.callers import Caller, Doorkeeper
from workers.gateway.config import GatewayConfig
from workers.gateway.events import Watchers
from workers.gateway.records import Records
from workers.gateway.room import Room
from workers.gateway.tokens import Scope


@dataclass(frozen=True, slots=True)
class Desk:
    """A gateway's parts."""

    config: GatewayConfig
    client: Client
    records: Records
    door: Doorkeeper
    watchers: Watchers
    room: Room


def desk_of(request: Request) -> Desk:
    """The desk of the application a request came to."""
    desk: Desk = request.app.state.desk
    return desk


def may(scope: Scope) -> Callable[[Request], Caller]:
    """A dependency that lets in who has the scope."""

    def admit(request: Request) -> Caller:
        return desk_of(request).door.admit(request, scope)

    return admit


AtDesk = Annotated[Desk, Depends(desk_of)]
Reader = Annotated[Caller, Depends(may("read"))]
Submitter = Annotated[Caller, Depends(may("submit"))]
