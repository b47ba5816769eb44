"""Ctrl-C, SIGTERM and a closed terminal as a flag, so that a run ends in good order."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


class Interrupts:
    """The first signal sets `requested`; a second one raises KeyboardInterrupt at once, but never while cleaning up."""

    def __init__(self) -> None:
        self.requested = False
        self.cleaning = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup the terminal may close
                    self._previous.setdefault(number, signal.signal(number, self._on_signal))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.cleaning:
            raise KeyboardInterrupt
        self.requested = True
