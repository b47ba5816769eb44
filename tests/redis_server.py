"""A real Redis server for tests that want one of their own: killed, frozen and started again at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis

BINARY = shutil.which("redis-server")
START_SECONDS = 10.0


class RedisServer:
    """A Redis server with its append-only file in `data`, on a private unix socket and on a free port of this machine.

    url: for clients, by TCP. socket_url: the same server by its unix socket, as Celery writes it.
    """

    def __init__(self, data: Path, password: str | None = None, binary: str | None = None) -> None:
        """binary: another server that speaks the same, such as Valkey; default: `redis-server`."""
        self.data = data
        self.password = password
        self._binary = binary or BINARY
        # a unix socket's path may have 107 bytes at most, pytest's temporary folders are longer
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self._folder / "redis.sock"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def broker(self) -> str:
        """The broker of a service that keeps its state here: the same server."""
        return self.url

    @property
    def socket_url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis+socket://{secret}{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the same data, socket and port."""
        assert self._binary is not None
        self.data.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
            "logfile": str(self.data / "redis.log"),
            **({"requirepass": self.password} if self.password else {}),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._binary, *words], stdin=subprocess.DEVNULL, start_new_session=True)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, nothing saved on the way out."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it live and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove its socket; its data stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url, socket_connect_timeout=1) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    if client.ping():
                        return
                except redis.BusyLoadingError:
                    pass
                except redis.ConnectionError:
                    pass
                time.sleep(0.01)
        log = self.data / "redis.log"
        words = log.read_text(errors="replace")[-500:] if log.exists() else "no word from it"
        self.stop()
        raise AssertionError(f"redis-server did not come up: {words}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
