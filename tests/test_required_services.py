"""The rule of tests/conftest.py, tried out in a pytest of its own: required services are never skipped in silence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.service
@pytest.mark.skipif(True, reason="no server here")
def test_marked_and_skipped(): ...

@pytest.mark.service
def test_marked_and_skipped_inside():
    pytest.skip("no server here either")

@pytest.mark.service
@pytest.mark.xfail(reason="known", run=False)
def test_marked_and_expected_to_fail(): ...

def test_unmarked_and_skipped():
    pytest.skip("something else is missing")

@pytest.mark.service
def test_marked_and_passed(): ...
"""
MODULE = """
import pytest

pytest.skip("no server for all of these", allow_module_level=True)

@pytest.mark.service
def test_of_a_module_that_skips_itself(): ...
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = service: a real server\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def run_pytest(folder: Path, required: str | None) -> tuple[int, dict[str, int], str]:
    """Exit status, counts of pytest's closing line, and all that it said."""
    env = {name: value for name, value in os.environ.items() if name != "PIXELMILL_REQUIRE_SERVICES"}
    if required is not None:
        env["PIXELMILL_REQUIRE_SERVICES"] = required
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(folder)]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    closing = done.stdout.strip().splitlines()[-1]
    return done.returncode, {what: int(n) for n, what in re.findall(r"(\d+) (\w+)", closing)}, done.stdout


@pytest.mark.parametrize("required", [None, "", "0"])
def test_skips_stay_skips_where_services_are_not_required(suite: Path, required: str | None) -> None:
    status, counts, _ = run_pytest(suite, required)

    assert status == 0
    assert (counts["passed"], counts["skipped"], counts["xfailed"]) == (1, 3, 1)


def test_a_skipped_service_test_fails_where_services_are_required(suite: Path) -> None:
    status, counts, output = run_pytest(suite, "1")

    assert status == 1
    # a skip mark acts before the test, which pytest calls an error; pytest.skip() inside it, which is a failure
    assert (counts["passed"], counts["error"], counts["failed"]) == (1, 1, 1)
    assert (counts["skipped"], counts["xfailed"]) == (1, 1)
    assert "no server here" in output
    assert "PIXELMILL_REQUIRE_SERVICES is set, so a real service must be there" in output


def test_a_module_of_service_tests_that_skips_itself_fails_where_services_are_required(suite: Path) -> None:
    (suite / "test_module.py").write_text(MODULE)

    status, _, output = run_pytest(suite, "1")

    assert status != 0
    assert "no server for all of these" in output


@pytest.mark.service
def test_the_redis_server_keeps_what_it_was_told_through_a_power_cut(redis_server) -> None:
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("appendfsync", "always")
        client.set("kept", "yes")
    redis_server.kill()
    redis_server.start()

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("kept") == b"yes"
