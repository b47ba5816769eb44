"""What all tests share: nothing reaches the network, and a real service that must be there is not skipped silently."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

REQUIRE_SERVICES = "PIXELMILL_REQUIRE_SERVICES"

# libraries that would fetch something, or install it, when they miss it
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# a developer's own broker must not become the tests' broker
for name in ("PIXELMILL_BROKER", "PIXELMILL_STORE"):
    os.environ.pop(name, None)


def services_required() -> bool:
    """Whether a test of a real service that skips itself counts as failed."""
    return os.environ.get(REQUIRE_SERVICES, "") not in ("", "0")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Fail a test marked `service` that was skipped although services are required."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    expected_to_fail = hasattr(report, "wasxfail")
    if services_required() and report.skipped and not expected_to_fail and item.get_closest_marker("service"):
        report.longrepr = _complaint(report)
        report.outcome = "failed"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """Fail a whole module that skips itself and holds tests marked `service`."""
    outcome = yield
    report: pytest.CollectReport = outcome.get_result()
    has_service_tests = isinstance(collector, pytest.Module) and "mark.service" in collector.path.read_text("utf-8")
    if services_required() and report.skipped and has_service_tests:
        report.longrepr = _complaint(report)
        report.outcome = "failed"


def _complaint(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"{reason}\n{REQUIRE_SERVICES} is set, so a real service must be there: install it"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Any]:
    """A real Redis server of this test's own, a `tests.redis_server.RedisServer`; its data lie below `tmp_path`."""
    from tests.redis_server import BINARY, RedisServer

    if BINARY is None:
        pytest.skip("no redis-server here; apt-get install redis-server")
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()
