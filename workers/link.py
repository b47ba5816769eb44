"""A client's connections to its service: made when they are needed, its own, and closed for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import redis

from workers.errors import BrokerError, JobError
from workers.registry import Registry
from workers.store import JobStore

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

POLL_SECONDS = 0.1


class Link:
    """The store, the registry in it and the broker of one service, as one client reaches them."""

    def __init__(self, broker: str, store: str, patience: float) -> None:
        """broker, store: URLs; nothing is sent yet. patience: seconds that `patiently` bears their absence."""
        self._broker, self._patience = broker, patience
        self._store = JobStore(store)
        self._registry = Registry(self._store)
        self._app: Celery | None = None
        self._closed = False

    @property
    def store(self) -> JobStore:
        """The state of jobs. Raises JobError after `close`."""
        self.check_open()
        return self._store

    @property
    def registry(self) -> Registry:
        """The heads of jobs. Raises JobError after `close`."""
        self.check_open()
        return self._registry

    @property
    def app(self) -> Celery:
        """What messages are published with. Raises JobError after `close`."""
        self.check_open()
        if self._app is None:
            from workers.app import make_app
            from workers.own_connections import own_connections

            self._app = own_connections(make_app(self._broker))
        return self._app

    def check_open(self) -> None:
        """Raise JobError after `close`."""
        if self._closed:
            raise JobError("this client is closed: make another one for further calls")

    def close(self) -> None:
        """Close every connection; to close twice changes nothing."""
        if self._closed:
            return
        self._closed = True
        self._store.redis.close()
        if self._app is not None:
            from workers.own_connections import close_connections

            close_connections(self._app)

    def ask(self, question: Callable[[], T]) -> T:
        """Ask the store. Raises BrokerError if it does not answer."""
        try:
            return question()
        except redis.RedisError as error:
            self.store.ping()  # says where it is, without its password
            raise BrokerError(f"the store does not answer: {error}") from error

    def patiently(self, question: Callable[[], T], deadline: float | None) -> T:
        """Ask until there is an answer: a broker that is started again is away for a while.

        deadline: monotonic seconds. Raises the last BrokerError when that or the patience is over.
        """
        give_up = time.monotonic() + self._patience
        while True:
            try:
                return question()
            except BrokerError:
                now = time.monotonic()
                if now >= give_up or (deadline is not None and now >= deadline):
                    raise
                time.sleep(POLL_SECONDS)
