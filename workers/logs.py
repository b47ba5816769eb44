"""What a worker logs: as text or as JSON Lines, with the job, shard and image in work on every line, without secrets.

A pool process works on one shard at a time, many of its threads on one image each. So job and shard are the process's,
the image is the thread's; a line that is about another says so itself (`extra={"job": …}`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from workers.settings import Settings, settings

LogFormat: TypeAlias = Literal["text", "json"]

_IN_URL = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/:@]*):[^\s/]*@")
_SHORTEST_SECRET = 6  # a shorter one would be found in the middle of words


class _AtWork:
    """What this process works on."""

    job: str | None = None
    shard: str | None = None
    here = threading.local()


@contextmanager
def at_work(job: str, shard: str) -> Iterator[None]:
    """This process works on this shard until the block ends."""
    _AtWork.job, _AtWork.shard = job, shard
    try:
        yield
    finally:
        _AtWork.job = _AtWork.shard = None


def on_image(name: str | None) -> None:
    """This thread works on this image from now on; None: on none."""
    _AtWork.here.image = name


def secrets_of(config: Settings) -> tuple[str, ...]:
    """What must stand in no line: passwords, as they are written in a URL and as they are meant."""
    found: set[str] = set()
    if config.webhook_secret is not None:
        found.add(config.webhook_secret.get_secret_value())
    for url in (config.broker, config.store):
        password = urlsplit(url).password if url else None
        found.update({password, unquote(password)} if password else ())
    return tuple(sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True))


def masker(secrets: tuple[str, ...] = ()) -> Callable[[str], str]:
    """Give what takes the secrets, and every password in a URL, out of a text."""

    def mask(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return _IN_URL.sub(r"\1:***@", text)

    return mask


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, job, shard, image, process, and error."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "job": getattr(record, "job", _AtWork.job),
            "shard": getattr(record, "shard", _AtWork.shard),
            "image": getattr(record, "image", getattr(_AtWork.here, "image", None)),
            "process": record.process,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # values before they are escaped: a secret with a quotation mark in it would not be found afterwards
        masked = {key: self._mask(value) if isinstance(value, str) else value for key, value in line.items()}
        return json.dumps(masked, ensure_ascii=True)


class MaskedFormatter(logging.Formatter):
    """Another formatter's lines, without secrets."""

    def __init__(self, inner: logging.Formatter, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._inner, self._mask = inner, mask

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        return self._mask(self._inner.format(record))


def dress(logger: logging.Logger, form: LogFormat, config: Settings) -> None:
    """Let a logger's handlers write in this form."""
    mask = masker(secrets_of(config))
    for handler in logger.handlers:
        inner = handler.formatter or logging.Formatter()
        handler.setFormatter(JsonFormatter(mask) if form == "json" else MaskedFormatter(inner, mask))


def early(text: str, form: LogFormat, level: str = "INFO") -> None:
    """Say something before there is a log, in the log's form, on standard error."""
    said = json.dumps({"level": level, "message": text}) if form == "json" else text
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    early(str(message), "json", "WARNING")


def install() -> None:
    """Let Celery's loggers, and so all of a worker's, write as the settings say."""
    from celery.signals import after_setup_logger, after_setup_task_logger
    from celery.utils.log import get_multiprocessing_logger

    def dress_it(logger: logging.Logger, **_: Any) -> None:
        config = settings()
        for one in (logger, get_multiprocessing_logger()):  # the pool has a logger of its own
            if not any(isinstance(handler.formatter, JsonFormatter | MaskedFormatter) for handler in one.handlers):
                dress(one, config.log_format, config)

    if settings().log_format == "json":
        warnings.showwarning = _show_warning  # until Celery gives them to the log
        # the log is on standard error; Celery's banner and its words on a signal are no JSON
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(dress_it, weak=False)
