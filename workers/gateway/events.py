"""A job's events for any number of listeners: one watcher a job looks, all listeners hear.

Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html):

    event: image       data: a line as in results.jsonl, with its number among the uploads
    event: progress    data: the job's status
    event: end         data: the job's last status; nothing follows
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pipelines.errors import PixelmillError
from workers.client import Client
from workers.gateway.records import Record
from workers.journal import Line
from workers.status import Status
from workers.tail import Tail

LOOK_SECONDS = 0.2
_BEAT_SECONDS = 15.0  # a comment, so that proxies see life in the line
_REMEMBERED = 5000  # events of a job; who comes later reads the results first
_LARGEST = 64 * 1024  # characters of an image's line; a longer one is named only


class Watchers:
    """The watchers of all jobs somebody listens to."""

    def __init__(self, client: Client) -> None:
        """Take the client they look with."""
        self._client = client
        self._watchers: dict[str, _Watcher] = {}

    async def events(self, record: Record, after: int = 0) -> AsyncIterator[str]:
        """Give a job's events as text, from the one after `after` on, until the job has ended."""
        watcher = self._watchers.get(record.job)
        if watcher is None:
            watcher = self._watchers[record.job] = _Watcher(self._client, record, self._gone)
        async for text in watcher.listen(after):
            yield text

    def _gone(self, job: str) -> None:
        self._watchers.pop(job, None)


class _Watcher:
    def __init__(self, client: Client, record: Record, gone: Callable[[str], None]) -> None:
        self._client, self._record, self._gone = client, record, gone
        self._events: list[str] = []
        self._dropped = 0
        self._news = asyncio.Condition()
        self._ended = False
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._numbers = {name: number for number, name in enumerate(record.images)}

    async def listen(self, after: int) -> AsyncIterator[str]:
        """Give events until the end; the first listener starts the watching, the last one ends it."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        heard = max(after, self._dropped)
        try:
            if after < self._dropped:
                yield f"event: missed\ndata: {self._dropped - after}\n\n"
            while True:
                while heard < self._dropped + len(self._events):
                    text = self._events[max(0, heard - self._dropped)]
                    heard = max(heard, self._dropped) + 1
                    yield text
                if self._ended:
                    return
                async with self._news:
                    if heard >= self._dropped + len(self._events) and not self._ended:
                        try:
                            await asyncio.wait_for(self._news.wait(), _BEAT_SECONDS)
                            continue
                        except TimeoutError:
                            pass
                yield ": still here\n\n"
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._task is not None:
                self._task.cancel()
                self._gone(self._record.job)

    async def _watch(self) -> None:
        tail: Tail | None = None
        last: Status | None = None
        while not self._ended:
            try:
                status = await asyncio.to_thread(self._client.status, self._record.job)
                tail = tail or Tail(Path(status.output), self._record.job)
                lines = await asyncio.to_thread(read_on, tail, status.has_ended)
            except PixelmillError as error:
                await self._tell([("trouble", {"detail": str(error)})], ended=False)
                await asyncio.sleep(10 * LOOK_SECONDS)
                continue
            news: list[tuple[str, Any]] = [("image", self._short(line)) for line in lines]
            if status != last and not status.has_ended:
                news.append(("progress", public(status)))
            if status.has_ended:
                news.append(("end", public(status)))
            last = status
            await self._tell(news, ended=status.has_ended)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, news: list[tuple[str, Any]], *, ended: bool) -> None:
        if not news and not ended:
            return
        async with self._news:
            for kind, data in news:
                number = self._dropped + len(self._events) + 1
                self._events.append(f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=True)}\n\n")
            surplus = len(self._events) - _REMEMBERED
            if surplus > 0:
                del self._events[:surplus]
                self._dropped += surplus
            self._ended = ended
            self._news.notify_all()

    def _short(self, line: Line) -> Line:
        numbered = {"number": self._numbers.get(line["image"]), **line}
        if len(json.dumps(numbered)) > _LARGEST:
            return {key: numbered[key] for key in ("number", "image", "status", "height", "width") if key in numbered}
        return numbered


def public(status: Status) -> dict[str, Any]:
    """A status without the places of this machine."""
    told = status.to_json()
    for name in ("source", "output"):
        told.pop(name)
    return told


def read_on(tail: Tail, ended: bool) -> list[Line]:
    """What came since the last look; ended: the last look of all."""
    lines = list(tail.new())
    return [*lines, *tail.merged()] if ended else lines
