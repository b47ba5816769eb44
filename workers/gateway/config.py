"""What a gateway may be told: where its data lie, how much it takes, who may ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The settings of one gateway.

    data: folder for uploads and results; workers must see it under the same path, below their roots.
    references: folders from which jobs may name inputs by path; none: only uploads.
    tokens: whether a bearer token is asked for. hosts: names the gateway answers to; empty: any.
    max_body: bytes of one request. max_files: uploads in one request. max_file: bytes of one upload.
    max_waiting: pictures `predict` waits for at once, and that may wait in the service; above, it answers 503.
    idle: seconds without a byte after which a request's body is given up. rate: requests a second for one caller,
    ten times as many in a burst. origins: of pages on other hosts that may ask; empty: none.
    deadline: longest seconds a `predict` may wait.
    keep_days: after which the uploads and results of a job that has ended are removed; 0: never.
    """

    data: Path
    references: tuple[Path, ...] = ()
    tokens: bool = True
    hosts: tuple[str, ...] = ()
    max_body: int = 2**30
    max_files: int = 1000
    max_file: int = 256 * 2**20
    max_waiting: int = 64
    idle: float = 60.0
    rate: float = 50.0
    origins: tuple[str, ...] = ()
    deadline: float = 120.0
    keep_days: float = 7.0

    @property
    def tokens_file(self) -> Path:
        """Where the hashes of tokens are kept."""
        return self.data / "tokens.json"
