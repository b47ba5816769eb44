"""One gateway for the modules that ask it from outside: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.system.gateways import Gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with broker and worker, small limits and a folder `allowed` beside its data."""
    import httpx

    from tests.system.gateways import Gateway
    from tests.system.processes import until

    folder = tmp_path_factory.mktemp("gateway")
    (folder / "allowed").mkdir()
    options = ["--root", str(folder / "allowed"), "--max-body", "3", "--max-files", "20", "--rate", "1000"]
    made = Gateway(folder, *options)
    with httpx.Client(base_url=made.url, timeout=30) as client:
        until(lambda: client.get("/readyz").status_code == 200, "a worker is there")
    yield made
    made.stop()


@pytest.fixture
def api(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client of it."""
    import httpx

    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client
