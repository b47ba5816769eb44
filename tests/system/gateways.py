"""A gateway's process for tests, and what is asked of its answers again and again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.system.processes import PIXELMILL, environment, until


class Gateway:
    """A gateway's process, with broker and worker of its own unless a broker is given."""

    def __init__(self, folder: Path, *options: str, broker: str = "", **variables: str) -> None:
        self.data = folder / "data"
        self._log = folder / "gateway.log"
        words = [*PIXELMILL, "serve", "--port", "0", "--data", str(self.data), *options]
        if broker:
            variables["PIXELMILL_BROKER"] = broker
        else:
            words.append("--embedded")
        env = environment(**variables)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log, env=env, cwd=folder)
        until(lambda: self.url or self.process.poll() is not None, "the gateway says where it is")
        assert self.process.poll() is None, self._log.read_text()

    @property
    def url(self) -> str:
        return next((word for word in self._log.read_text().split() if word.startswith("http://")), "")

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def kept(self) -> set[str]:
        """Every file that stands for a job or an upload; what a running job writes does not count."""
        patterns = ("jobs/*", "jobs/*/*", "jobs/*/inputs/*", "index/*", "incoming/*")
        return {str(path) for pattern in patterns for path in self.data.glob(pattern)}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


def submitted(api: httpx.Client, files: list[tuple[str, bytes]], pipeline: str = "classify", **more: Any) -> str:
    parts = [("files", (name, data)) for name, data in files]
    answer = api.post("/v1/jobs", data={"pipeline": pipeline, **more}, files=parts)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job']}"
    return str(answer.json()["job"])


def ended(api: httpx.Client, job: str) -> dict[str, Any]:
    until(lambda: api.get(f"/v1/jobs/{job}").json()["ended"] is not None, "the job has ended")
    told: dict[str, Any] = api.get(f"/v1/jobs/{job}").json()
    return told


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])
