"""A real RabbitMQ server for tests that want one of their own: an ordinary user's node, killed and started at will."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import amqp
import psutil

from tests.redis_server import free_port

# Debian's wrapper in /usr/sbin runs as root or as the user rabbitmq, this one as anybody
BINARY = next(
    (found for place in ("/usr/lib/rabbitmq/bin", None) if (found := shutil.which("rabbitmq-server", path=place))), None
)
EPMD = shutil.which("epmd")
START_SECONDS = 120.0  # 4 s of computing, on whatever share of the cores there is

CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
log.console = true
"""


class RabbitServer:
    """A RabbitMQ node with its data in `data`, on free ports of this machine."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port, self._distribution, self._epmd_port = free_port(), free_port(), free_port()
        self._home = Path(tempfile.mkdtemp(prefix="rabbitmq-"))  # the cookie of the node lies here
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            **os.environ,
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"pixelmill-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.data / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.data / "enabled_plugins"),
            # no spinning schedulers: other processes are here, too
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start, or start again on the same data and port."""
        assert BINARY is not None
        assert EPMD is not None
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "rabbitmq.conf").write_text(CONFIG.format(port=self.port))
        (self.data / "enabled_plugins").write_text("[].\n")
        with (self.data / "console.log").open("ab") as log:
            if self._epmd is None:  # else the node would leave one behind
                self._epmd = _start([EPMD], self._env, log)
            self._process = _start([BINARY], self._env, log)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, nothing saved on the way out."""
        if self._process is not None:
            _kill_group(self._process)

    def freeze(self) -> None:
        """Let it live and answer nothing."""
        assert self._process is not None
        for process in _family(self._process):
            process.suspend()

    def thaw(self) -> None:
        assert self._process is not None
        for process in _family(self._process):
            process.resume()

    def cut(self) -> None:
        """Close every connection to it; OSError if it does not hear."""
        assert BINARY is not None
        words = [str(Path(BINARY).with_name("rabbitmqctl")), "close_all_connections", "cut"]
        try:
            subprocess.run(words, env=self._env, capture_output=True, timeout=30, check=True)
        except subprocess.SubprocessError as error:
            raise OSError(f"rabbitmqctl: {error}") from error

    def stop(self) -> None:
        """End it; its data stays."""
        self.kill()
        if self._epmd is not None:
            _kill_group(self._epmd)
        shutil.rmtree(self._home, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest", connect_timeout=5):
                    return
            except (OSError, amqp.AMQPError):
                time.sleep(0.05)
        words = (self.data / "console.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise AssertionError(f"rabbitmq-server did not come up: {words}")


def _start(words: list[str], env: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all it started: the server is a script, the node its child."""
    try:
        return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    for one in _family(process):
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
