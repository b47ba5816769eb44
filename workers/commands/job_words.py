"""What the commands about jobs share: which service they ask, and how a job's status is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.client import Client
    from workers.status import Status

# done · done with failures · failed, dead or cancelled
EXIT_STATUS = {"done": 0, "done with failures": 3}


def broker_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the service."""
    option = click.option("--broker", metavar="URL", help="Broker of the service; default: PIXELMILL_BROKER.")
    return option(command)


def client_for(broker: str | None) -> Client:
    """A client of that service. Raises BrokerError if there is none, or it does not answer."""
    from workers.client import Client

    client = Client(broker)
    client.ping()
    return client


def exit_status(status: Status) -> int:
    """The exit status that says how a job ended: 0 all done, 3 done with failures, 1 otherwise."""
    return EXIT_STATUS.get(status.state, 1)


def say(status: Status) -> str:
    """A job's status as people read it."""
    lines = [f"{status.job}  {status.state}"]
    rows = [
        ("pipeline", f"{status.pipeline} with {status.model}"),
        ("input", printable(status.source)),
        ("output", printable(status.output)),
        ("images", images(status)),
        ("at work", status.steps),
        ("speed", _speed(status)),
        ("submitted", f"{moment(status.created)}, priority {status.priority}"),
        ("deadline", moment(status.deadline) if status.deadline else ""),
        ("ended", moment(status.ended) if status.ended else ""),
        ("reason", status.reason or ""),
        ("held up", status.trouble or ""),
        ("webhook", _webhook(status)),
    ]
    return "\n".join([*lines, *(f"  {name:<10}{text}" for name, text in rows if text)])


def images(status: Status) -> str:
    """How far a job is, in images."""
    total = "still being listed" if status.total is None else f"of {status.total:,}"
    parts = [f"{status.finished:,} {total}"]
    if status.kept:
        parts.append(f"{status.kept:,} finished before")
    if status.failed:
        parts.append(f"{status.failed:,} failed ({reasons(status.failed_by_code)})")
    return ", ".join(parts)


def reasons(failed_by_code: Any) -> str:
    """Failures by their code, the most frequent first."""
    return ", ".join(f"{count:,} {code}" for code, count in sorted(failed_by_code.items(), key=lambda row: -row[1]))


def moment(iso: str) -> str:
    """A time as people read it, in this machine's time zone."""
    from datetime import datetime

    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """A name that can be shown, whatever bytes are in it."""
    return text.encode("utf-8", "replace").decode()


def _speed(status: Status) -> str:
    if not status.images_per_second:
        return ""
    at_work = f", {status.at_work} shards at work" if status.at_work and not status.has_ended else ""
    return f"{status.images_per_second:.1f} images/s for {status.seconds:.1f} s on {status.provider}{at_work}"


def _webhook(status: Status) -> str:
    if status.webhook is None:
        return ""
    if not status.deliveries:
        return f"{status.webhook}: {'waits' if status.has_ended else 'when it has ended'}"
    last = status.deliveries[-1]
    tries = f"try {last.number} at {moment(last.at)}"
    return f"{status.webhook}: {'delivered' if last.ok else f'{last.said}'}, {tries}"
