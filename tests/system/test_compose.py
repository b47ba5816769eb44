"""docker-compose.yml and Dockerfile against the Compose specification, the real CLI and the real settings.

No engine runs here: what can be known without one is checked. The broker's own command is in test_compose_broker.py.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from tests.command_line import parse
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
RABBITMQ = ROOT / "compose.rabbitmq.yml"
DOCKERFILE = ROOT / "Dockerfile"
PASSWORD = "0123abcd"
OURS = "pixelmill:0.1.0"
DOCKER_COMPOSE = shutil.which("docker-compose")
GIVEN = {"PIXELMILL_BROKER_PASSWORD": PASSWORD, "PIXELMILL_RABBITMQ_PASSWORD": "4567cdef"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.fixture(scope="module")
def rabbitmq() -> dict[str, Any]:
    """What compose.rabbitmq.yml changes."""
    loaded: dict[str, Any] = yaml.safe_load(RABBITMQ.read_text())
    return loaded


def seconds(duration: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def instructions() -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions with what follows them, continued lines joined, comments dropped."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


def final_stage() -> list[tuple[str, str]]:
    all_of_them = list(instructions())
    last = max(index for index, (name, _) in enumerate(all_of_them) if name == "FROM")
    return all_of_them[last:]


# (a) the specification


@pytest.mark.parametrize("path", [COMPOSE, RABBITMQ], ids=lambda path: path.name)
def test_the_file_is_valid_by_the_compose_specification(path: Path) -> None:
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())

    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(path.read_text())))

    assert not errors


@pytest.mark.service
@pytest.mark.skipif(DOCKER_COMPOSE is None, reason="no docker-compose here; apt-get install docker-compose")
def test_a_compose_client_accepts_the_file_and_fills_in_the_password(tmp_path: Path) -> None:
    done = docker_compose_config({"PIXELMILL_BROKER_PASSWORD": PASSWORD}, tmp_path)

    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"broker", "worker", "gateway", "client", "flower"}
    assert "127.0.0.1" in json.dumps(services["gateway"]["ports"])  # a string or a mapping, as the client writes it
    assert services["worker"]["environment"]["PIXELMILL_BROKER"] == f"redis://:{PASSWORD}@broker:6379/0"


@pytest.mark.service
@pytest.mark.skipif(DOCKER_COMPOSE is None, reason="no docker-compose here; apt-get install docker-compose")
@pytest.mark.parametrize("given", [{}, {"PIXELMILL_BROKER_PASSWORD": ""}])
def test_without_a_password_a_compose_client_stops_and_says_where_to_set_it(
    given: dict[str, str], tmp_path: Path
) -> None:
    done = docker_compose_config(given, tmp_path)

    assert done.returncode != 0
    assert "set it in .env, see .env.example" in done.stderr


@pytest.mark.service
@pytest.mark.skipif(DOCKER_COMPOSE is None, reason="no docker-compose here; apt-get install docker-compose")
def test_with_its_override_a_compose_client_gives_every_service_rabbitmq_and_keeps_the_rest(tmp_path: Path) -> None:
    before, after = (docker_compose_config(GIVEN, tmp_path, *files) for files in ((), (RABBITMQ,)))

    assert after.returncode == 0, after.stderr
    plain, changed = (yaml.safe_load(done.stdout)["services"] for done in (before, after))
    url = "amqp://pixelmill:4567cdef@rabbitmq:5672//"
    for name in ("worker", "gateway", "client"):
        settings = changed[name]["environment"]
        assert settings["PIXELMILL_BROKER"] == url
        assert settings["PIXELMILL_STORE"] == plain[name]["environment"]["PIXELMILL_BROKER"]
        assert settings["PIXELMILL_ROOTS"] == "/data"
    assert changed["flower"]["environment"]["CELERY_BROKER_URL"] == url
    assert set(changed) == {*plain, "rabbitmq"}
    for name, service in plain.items():
        awaited = {"broker"} if name == "broker" else {*service["depends_on"], "rabbitmq"}
        assert set(changed[name].get("depends_on", {"broker"})) == awaited
        assert set(changed[name]["networks"]) == set(service["networks"])
        same = {key for key in service if in_any_order(service[key]) == in_any_order(changed[name][key])}
        unlike = service.keys() - same - {"networks"}
        assert unlike == (set() if name == "broker" else {"environment", "depends_on"})


@pytest.mark.service
@pytest.mark.skipif(DOCKER_COMPOSE is None, reason="no docker-compose here; apt-get install docker-compose")
def test_without_rabbitmqs_password_its_override_stops_and_says_where_to_set_it(tmp_path: Path) -> None:
    done = docker_compose_config({"PIXELMILL_BROKER_PASSWORD": PASSWORD}, tmp_path, RABBITMQ)

    assert done.returncode != 0
    assert "set it in .env, see .env.example" in done.stderr


def in_any_order(value: Any) -> Any:
    """A list sorted: merging changes the order of mounts."""
    return sorted(map(str, value)) if isinstance(value, list) else value


def docker_compose_config(given: dict[str, str], folder: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **given}
    nothing = folder / "nothing.env"  # a developer's own .env must not decide this test
    nothing.touch()
    profiles = ["--profile", "client", "--profile", "flower"]
    files = [word for path in (COMPOSE, *more) for word in ("-f", str(path))]
    command = [str(DOCKER_COMPOSE), "--env-file", str(nothing), *profiles, *files, "config"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


# (b) the commands


def test_every_command_in_compose_parses_against_the_real_cli(compose: dict[str, Any]) -> None:
    ours = {name: service for name, service in compose["services"].items() if service["image"] == OURS}

    parsed = {name: parse(service["command"]).info_name for name, service in ours.items()}

    assert parsed == {"worker": "worker", "gateway": "serve", "client": "run"}


def test_every_health_check_in_compose_parses_or_is_the_brokers(compose: dict[str, Any]) -> None:
    for name in ("worker", "gateway"):
        test = compose["services"][name]["healthcheck"]["test"]
        assert test[:2] == ["CMD", "pixelmill"]
        assert parse(test[2:]).info_name == "health"
    port = parse(compose["services"]["gateway"]["command"]).params["port"]
    assert parse(test[2:]).params["gateway"] == f"http://127.0.0.1:{port}"


def test_the_images_entry_point_command_and_health_check_parse() -> None:
    stage = dict(final_stage())
    entry_point, command = json.loads(stage["ENTRYPOINT"]), json.loads(stage["CMD"])
    health = json.loads(stage["HEALTHCHECK"].partition("CMD ")[2])

    assert entry_point == ["pixelmill"]
    assert parse(command).info_name == "worker"
    assert health[0] == "pixelmill"
    assert parse(health[1:]).info_name == "health"


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        parse(["worker", "--check"])
    with pytest.raises(click.UsageError):
        parse(["wrker"])
    with pytest.raises(click.UsageError):
        parse(["run", "detect", "/data/photos"])


def test_the_paths_a_command_names_are_mounted(compose: dict[str, Any]) -> None:
    service = compose["services"]["client"]
    arguments = parse(service["command"]).params
    mounts = {volume["target"]: volume.get("read_only", False) for volume in service["volumes"]}

    assert mounts == {arguments["src"]: True, str(arguments["output"]): False}
    assert all(one in compose["services"]["worker"]["volumes"] for one in service["volumes"])


def test_a_worker_sees_what_comes_over_http_where_the_gateway_keeps_it(compose: dict[str, Any]) -> None:
    gateway, worker = compose["services"]["gateway"], compose["services"]["worker"]
    arguments = parse(gateway["command"]).params
    mounts = {volume["target"]: volume.get("read_only", False) for volume in gateway["volumes"]}

    assert mounts == {str(arguments["data"]): False, str(arguments["roots"][0]): True}
    assert all(one in worker["volumes"] for one in gateway["volumes"])


def test_the_gateway_asks_for_tokens_and_is_published_on_loopback_alone(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["gateway"]
    arguments = parse(gateway["command"]).params

    assert arguments["tokens"] is None  # as ever off loopback: a token is asked for
    assert arguments["host"] == "0.0.0.0"
    assert gateway["ports"] == [f"127.0.0.1:${{PIXELMILL_PORT:-8000}}:{arguments['port']}"]
    assert compose["networks"]["front"]["driver_opts"] == {
        "com.docker.network.bridge.enable_ip_masquerade": "false"
    }  # no way out
    for name in ("broker", "worker"):
        assert gateway["depends_on"][name] == {"condition": "service_healthy"}


def test_the_image_has_what_the_gateway_needs() -> None:
    installed = next(rest for name, rest in instructions() if name == "RUN" and "pip install" in rest)

    assert "[api]" in installed


# (c) the variables


def test_every_variable_set_for_a_container_is_one_the_settings_know(compose: dict[str, Any]) -> None:
    fields = {f"PIXELMILL_{name.upper()}" for name in Settings.model_fields}
    in_the_image = set(re.findall(r"PIXELMILL_\w+", " ".join(rest for name, rest in instructions() if name == "ENV")))

    for name in ("worker", "gateway", "client"):
        assert set(compose["services"][name]["environment"]) | in_the_image <= fields


def test_the_values_set_for_a_container_are_valid_settings(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in compose["services"]["worker"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{PIXELMILL_BROKER_PASSWORD:[^}]*\}", PASSWORD, value))

    settings = Settings()

    assert settings.broker == f"redis://:{PASSWORD}@broker:6379/0"
    assert seconds(compose["services"]["worker"]["stop_grace_period"]) > settings.shard_seconds


def test_rabbitmqs_settings_are_valid_and_its_queues_wait_longer_than_a_shard_takes(
    compose: dict[str, Any], rabbitmq: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**compose["services"]["worker"]["environment"], **rabbitmq["services"]["worker"]["environment"]}
    for name, value in values.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:[^}]*\}", PASSWORD, value))

    settings = Settings()

    assert settings.broker == f"amqp://pixelmill:{PASSWORD}@rabbitmq:5672//"
    assert settings.store == f"redis://:{PASSWORD}@broker:6379/0"
    assert settings.shard_seconds < 30 * 60  # RabbitMQ's consumer_timeout, which the override leaves as it is
    for name in ("gateway", "client"):
        assert rabbitmq["services"][name]["environment"] == rabbitmq["services"]["worker"]["environment"]


def test_every_variable_the_files_take_from_outside_is_explained_in_the_example() -> None:
    taken = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text() + RABBITMQ.read_text()))
    explained = set(re.findall(r"(?m)^#?(PIXELMILL_\w+)=", (ROOT / ".env.example").read_text()))

    assert taken == explained


# (d) the broker, and what a container may do


def test_the_broker_has_no_password_of_its_own_and_every_use_demands_one(compose: dict[str, Any]) -> None:
    uses = re.findall(r"\$\{PIXELMILL_BROKER_PASSWORD[^}]*\}", COMPOSE.read_text())

    uses += re.findall(r"\$\{PIXELMILL_\w+_PASSWORD[^}]*\}", RABBITMQ.read_text())

    assert len(uses) == 7
    assert all(":?" in use for use in uses)
    assert "requirepass $$BROKER_PASSWORD" in compose["services"]["broker"]["command"][-1]


def test_the_broker_persists_has_a_health_check_and_workers_wait_for_it(compose: dict[str, Any]) -> None:
    broker = compose["services"]["broker"]

    assert "--appendonly yes" in broker["command"][-1]
    assert "broker:/data" in broker["volumes"]
    assert "broker" in compose["volumes"]
    assert "PONG" in broker["healthcheck"]["test"][-1]
    for name in ("worker", "gateway", "client"):
        assert compose["services"][name]["depends_on"]["broker"] == {"condition": "service_healthy"}


def test_no_port_but_those_of_the_gateway_and_flower_is_published(
    compose: dict[str, Any], rabbitmq: dict[str, Any]
) -> None:
    for name, service in compose["services"].items():
        assert ("ports" in service) == (name in ("gateway", "flower"))
        assert service.get("network_mode") is None
        assert ("front" in service["networks"]) == (name in ("gateway", "flower"))
    assert rabbitmq["services"]["rabbitmq"]["networks"] == ["inside"]
    for service in rabbitmq["services"].values():
        assert not {"ports", "network_mode"} & service.keys()
    assert compose["networks"]["inside"]["internal"] is True


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    assert "container_name" not in compose["services"]["worker"]
    assert "hostname" not in compose["services"]["worker"]


def test_flower_may_only_look_and_is_published_on_loopback_alone(compose: dict[str, Any]) -> None:
    flower = compose["services"]["flower"]

    assert flower["profiles"] == ["flower"]
    assert flower["environment"]["FLOWER_READ_ONLY"] == "true"
    assert flower["ports"] == ["127.0.0.1:${PIXELMILL_FLOWER_PORT:-5555}:5555"]
    assert "volumes" not in flower


def test_flowers_image_has_what_it_was_tried_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {*project["dependencies"], *project["optional-dependencies"]["dev"]}
    image = (ROOT / "flower.Dockerfile").read_text()
    installed = set(re.findall(r'"([a-z]+[><=][^"]+)"', image))

    assert {re.split("[><=]", one)[0] for one in installed} == {"celery", "flower", "redis"}
    assert installed <= ranges
    assert "USER 10001:10001" in image


def test_every_container_runs_without_root_and_without_rights(
    compose: dict[str, Any], rabbitmq: dict[str, Any]
) -> None:
    for service in [*compose["services"].values(), rabbitmq["services"]["rabbitmq"]]:
        user = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["user"])
        assert int(user.partition(":")[0]) > 0
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert "privileged" not in service


def test_the_image_ends_as_a_user_without_root_and_holds_no_secret() -> None:
    stage = dict(final_stage())

    assert int(stage["USER"].partition(":")[0]) > 0
    assert not re.search(r"(?i)password|secret|token", DOCKERFILE.read_text())


def test_the_image_is_built_from_what_the_ignore_file_lets_in() -> None:
    copied = {
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    }
    let_in = set(re.findall(r"(?m)^!(.+)$", (ROOT / ".dockerignore").read_text()))

    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
