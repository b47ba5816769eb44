"""A Celery application whose connections to the broker are its own, so that they can be closed.

Kombu keeps one pool for each broker in a process. To close that would cut off every other client of the broker there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def own_connections(app: Celery) -> Celery:
    """Give an application pools of its own; nothing is connected yet."""
    from kombu.pools import ProducerPool

    limit = app.conf.broker_pool_limit
    app._pool = app.connection_for_write().Pool(limit)
    app.amqp._producer_pool = ProducerPool(app._pool, limit=limit)
    return app


def close_connections(app: Celery) -> None:
    """Close every connection of an application that has its own; it can't be used any more."""
    app.amqp.producer_pool.force_close_all()
    app.pool.force_close_all()
    app.close()
