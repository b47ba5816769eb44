"""Jobs that need PyTorch: which they are, who can do them, and what is said where nobody can.

Their shards go into queues of their own (`workers.queues`), which only workers with PyTorch look into.
"""

from __future__ import annotations

from pipelines.errors import ParameterError
from pipelines.optimisers import MISSING, PIPELINE, can_optimise
from workers.jobs import JobSpec
from workers.queues import Lane, lane_of
from workers.roll import Roll
from workers.settings import Settings, settings
from workers.store import JobStore

NOBODY = (
    "waiting for a worker with PyTorch: `pip install 'pixelmill[export]'` and `pixelmill worker` on a machine of this "
    "service start one"
)


def lanes_served(config: Settings | None = None) -> tuple[Lane, ...]:
    """The lanes a worker of this environment takes shards from.

    Raises ParameterError if it is told to serve jobs that need PyTorch and there is none.
    """
    wanted = (config or settings()).optimise
    if wanted in ("yes", "only") and not can_optimise():
        raise ParameterError(MISSING)
    if wanted == "only":
        return ("torch",)
    return ("plain", "torch") if wanted == "yes" or (wanted == "auto" and can_optimise()) else ("plain",)


def check_own_worker(spec: JobSpec, config: Settings) -> None:
    """Refuse a job for a worker of one's own that could not do it. Raises ParameterError."""
    if config.broker is None and lane_of(spec.pipeline) == "torch":
        lanes_served(config)
        if not can_optimise():
            raise ParameterError(MISSING)


def shard_images(spec: JobSpec, config: Settings) -> int:
    """The most images of a job in one message: one where each may take minutes."""
    return 1 if spec.pipeline == PIPELINE else config.shard_images


def waits_for(store: JobStore, queue: str, pipeline: str) -> str | None:
    """What a job of this pipeline waits for where no worker of the service can do it; None if one can."""
    if lane_of(pipeline) == "plain" or any(one.optimises for one in Roll(store, queue).workers()):
        return None
    return NOBODY
